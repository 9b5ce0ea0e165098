//! Without any fault.

use anyhow::Result;

use crate::aws::records;
use crate::case::{ALL, Case, Duplicates, Scenario};

pub(super) const SCENARIOS: &[Scenario] =
    &[Scenario { name: "plain", ci: ALL, all: ALL, duplicates: Duplicates::Never, run: plain }];

/// 3 shards, 20,000 records of all sizes.
fn plain(case: &mut Case<'_>) -> Result<()> {
    let stream = case.stream(&case.stage.ferrokinesis, 3)?;
    let mut new = records(19_900, 20..=2_000, 1);
    // A key of up to 256 characters counts, too.
    let mut big = records(100, 64 * 1024..=1024 * 1024 - 64, 2);
    big[0].data = vec![0xff; 1024 * 1024 - big[0].key.len()];
    // One big record every 200 records.
    for (index, record) in big.into_iter().enumerate() {
        new.insert(index * 199, record);
    }
    stream.put(&new, &mut case.put)?;
    // A batch of 10,000 records is more than a busy machine reads before a lease of 5 s ends.
    case.properties.insert("maxRecords", "1000".to_owned());
    case.properties.insert("failoverTimeMillis", "30000".to_owned());
    let mut worker = case.start(&stream, &[])?;
    case.wait_for_all(&mut worker)?;
    worker.stop()?;
    case.all_is_checkpointed()
}
