//! Times the codec: `cargo bench -p kcl-bench`, or `… -- decode/` for one group.

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use kcl_bench::works::Work;

fn main() {
    divan::main();
}

#[divan::bench(args = Work::names())]
fn codec(bencher: Bencher<'_, '_>, name: &str) {
    let work = Work::named(name).expect("its name is from the list");
    bencher
        .counter(ItemsCount::new(work.items))
        .counter(BytesCount::new(work.bytes))
        .with_inputs(|| work.input())
        .bench_local_refs(|input| work.run(input));
}
