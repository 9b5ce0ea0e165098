//! Measures the codec: `cargo bench -p kcl-bench`, or `… -- decode/` for one group.

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use kcl_bench::workloads::Workload;

fn main() {
    divan::main();
}

#[divan::bench(args = Workload::names())]
fn codec(bencher: Bencher<'_, '_>, name: &str) {
    let workload = Workload::named(name).expect("the name is in the list");
    bencher
        .counter(ItemsCount::new(workload.items))
        .counter(BytesCount::new(workload.bytes))
        .with_inputs(|| workload.input())
        .bench_local_refs(|input| workload.run(input));
}
