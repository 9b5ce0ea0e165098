//! Reads the counts in `bench/instructions.tsv` and compares new counts with them. It starts no
//! process and reads no file.

use std::fmt::Write as _;

/// How many percent a count may be above the one in the file. Counts of the same program differ by
/// less than 1 %; one more allocation for a small record is 10 %. A count that is lower by as much
/// should become the new bound.
pub const SLACK_PERCENT: f64 = 5.0;

/// The file's name in messages.
pub const FILE: &str = "bench/instructions.tsv";

/// The command that updates the file.
pub const BLESS: &str = "e2e/instructions.sh --bless";

/// The instruction set that the counts are for. Valgrind hides AVX-512 from programs, so counts are
/// the same on hosts with and without it.
pub const CPU_LEVEL: &str = "AVX2";

/// Returns the best instruction set that this process detects, among those that the libraries use.
pub fn cpu_level() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f") {
            return "AVX-512";
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            return CPU_LEVEL;
        }
    }
    "no AVX2"
}

/// Returns the number of instructions in cachegrind's stderr.
///
/// # Errors
/// There is no such number; the error shows the whole stderr.
pub fn instructions(stderr: &[u8]) -> Result<u64, String> {
    let stderr = String::from_utf8_lossy(stderr);
    let count = stderr.lines().find_map(|line| {
        let (_, count) = line.split_once("== I ")?.1.split_once("refs:")?;
        count.trim().replace(',', "").parse().ok()
    });
    count.ok_or_else(|| format!("valgrind printed no instruction count:\n{stderr}"))
}

/// The instructions of a workload.
#[derive(Debug, Clone, PartialEq)]
pub struct Count {
    /// The name of the workload.
    pub workload: String,
    /// What `instructions` is counted per.
    pub unit: String,
    /// The number of instructions per unit.
    pub instructions: f64,
}

/// How a count compares with the one in the file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict {
    /// Equal within the slack.
    Same,
    /// Above the slack: a regression.
    More,
    /// Below the slack: the file should be updated.
    Fewer,
    /// Not in the file.
    Unknown,
}

/// The counts of the file.
#[derive(Debug, Default, PartialEq)]
pub struct Bounds {
    /// The versions of the tools that counted them.
    pub tools: String,
    counts: Vec<Count>,
}

impl Bounds {
    /// Parses the text of the file.
    ///
    /// # Errors
    /// A line does not have three columns.
    pub fn parse(text: &str) -> Result<Bounds, String> {
        let mut bounds = Bounds::default();
        for (index, line) in text.lines().enumerate() {
            if let Some(comment) = line.strip_prefix('#') {
                if let Some(tools) = comment.trim().strip_prefix("counted with ") {
                    tools.clone_into(&mut bounds.tools);
                }
                continue;
            }
            let columns: Vec<_> = line.split('\t').collect();
            let count = match columns[..] {
                ["workload", ..] => continue,
                [workload, unit, count] => count.parse().ok().map(|instructions| Count {
                    workload: workload.to_owned(),
                    unit: unit.to_owned(),
                    instructions,
                }),
                _ => None,
            };
            bounds.counts.push(count.ok_or_else(|| {
                format!(
                    "{FILE}:{}: expected a workload, a unit and a number, separated by tabs",
                    index + 1
                )
            })?);
        }
        Ok(bounds)
    }

    /// Returns the text of the file with these new counts. `workloads` sets the order; workloads
    /// that no longer exist are dropped.
    pub fn blessed(&self, counts: &[Count], workloads: &[&str], tools: &str) -> String {
        let mut text = format!(
            "# Instructions per unit, on a processor with {CPU_LEVEL}; see bench/README.md.\n\
             # Do not edit: {BLESS}\n# counted with {tools}\nworkload\tunit\tinstructions\n"
        );
        for workload in workloads {
            let is_it = |count: &&Count| count.workload == *workload;
            if let Some(count) = counts.iter().find(is_it).or(self.counts.iter().find(is_it)) {
                let Count { workload, unit, instructions } = count;
                let _ = writeln!(text, "{workload}\t{unit}\t{instructions:.2}");
            }
        }
        text
    }

    /// Compares a count with the one in the file. Returns the verdict and a line that describes it,
    /// with hints if something should be done.
    pub fn compare(&self, count: &Count, tools: &str) -> (Verdict, String) {
        let Count { workload, unit, instructions } = count;
        let Some(bound) = self.counts.iter().find(|bound| bound.workload == *workload) else {
            let text = format!(
                "{workload}: {instructions:.2} instructions per {unit}, but {FILE} has no bound\n\
                 hint: run {BLESS} {workload}"
            );
            return (Verdict::Unknown, text);
        };
        let percent = (instructions / bound.instructions - 1.0) * 100.0;
        let count =
            format!("{workload}: {instructions:.2} instructions per {unit}, {percent:+.1} %");
        let bound = bound.instructions;
        if percent > SLACK_PERCENT {
            let max = bound * (1.0 + SLACK_PERCENT / 100.0);
            let mut text = format!(
                "{count}: more than {max:.2}, which is {SLACK_PERCENT} % above the {bound:.2} in {FILE}\n\
                 hint: see bench/README.md to find where they are spent\n\
                 hint: if the cost is justified, explain it in the commit and run {BLESS} {workload}",
            );
            if self.tools != tools {
                let _ = write!(
                    text,
                    "\nnote: the bound was counted with {}; this is {tools}",
                    self.tools
                );
            }
            (Verdict::More, text)
        } else if percent < -SLACK_PERCENT {
            let text = format!(
                "{count}: much less than the {bound:.2} in {FILE}\n\
                 hint: to keep the improvement, run {BLESS} {workload}"
            );
            (Verdict::Fewer, text)
        } else {
            (Verdict::Same, count)
        }
    }

    /// Returns workloads in the file that no longer exist.
    pub fn stale<'b>(&'b self, workloads: &'b [&str]) -> impl Iterator<Item = &'b str> {
        let names = self.counts.iter().map(|count| count.workload.as_str());
        names.filter(|name| !workloads.contains(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# Instructions per unit, on a processor with AVX2; see bench/README.md.
# Do not edit: e2e/instructions.sh --bless
# counted with rustc 1, valgrind-3
workload\tunit\tinstructions
decode/one\trecord\t200.00
lines/one\tline\t12.50
";

    fn count(workload: &str, instructions: f64) -> Count {
        let unit = if workload.starts_with("decode") { "record" } else { "line" };
        Count { workload: workload.to_owned(), unit: unit.to_owned(), instructions }
    }

    fn compare(workload: &str, instructions: f64, tools: &str) -> (Verdict, String) {
        Bounds::parse(TEXT).unwrap().compare(&count(workload, instructions), tools)
    }

    #[test]
    fn counts_within_the_slack_are_the_same() {
        let (verdict, text) = compare("decode/one", 209.0, "");
        assert_eq!(verdict, Verdict::Same);
        assert_eq!(text, "decode/one: 209.00 instructions per record, +4.5 %");
        assert_eq!(compare("decode/one", 191.0, "").0, Verdict::Same);
    }

    #[test]
    fn a_regression_shows_the_count_the_bound_and_hints() {
        let (verdict, text) = compare("decode/one", 230.0, "rustc 1, valgrind-3");
        assert_eq!(verdict, Verdict::More);
        assert_eq!(
            text,
            "decode/one: 230.00 instructions per record, +15.0 %: more than 210.00, which is 5 % above \
             the 200.00 in bench/instructions.tsv\n\
             hint: see bench/README.md to find where they are spent\n\
             hint: if the cost is justified, explain it in the commit and run \
             e2e/instructions.sh --bless decode/one"
        );
        let (_, text) = compare("decode/one", 230.0, "rustc 2, valgrind-3");
        assert!(
            text.ends_with(
                "\nnote: the bound was counted with rustc 1, valgrind-3; this is rustc 2, valgrind-3"
            ),
            "{text}"
        );
    }

    #[test]
    fn an_improvement_asks_for_a_new_bound() {
        let (verdict, text) = compare("lines/one", 10.0, "");
        assert_eq!(verdict, Verdict::Fewer);
        assert_eq!(
            text,
            "lines/one: 10.00 instructions per line, -20.0 %: much less than the 12.50 in \
             bench/instructions.tsv\n\
             hint: to keep the improvement, run e2e/instructions.sh --bless lines/one"
        );
    }

    #[test]
    fn a_workload_without_a_bound_does_not_pass() {
        let (verdict, text) = compare("lines/two", 10.0, "");
        assert_eq!(verdict, Verdict::Unknown);
        assert_eq!(
            text,
            "lines/two: 10.00 instructions per line, but bench/instructions.tsv has no bound\n\
             hint: run e2e/instructions.sh --bless lines/two"
        );
    }

    #[test]
    fn blessing_some_counts_keeps_the_others() {
        let bounds = Bounds::parse(TEXT).unwrap();
        assert_eq!(bounds.tools, "rustc 1, valgrind-3");
        assert_eq!(bounds.blessed(&[], &["decode/one", "lines/one"], &bounds.tools), TEXT);
        let text = bounds.blessed(&[count("lines/one", 9.0)], &["lines/one", "lines/new"], "x");
        assert!(
            text.ends_with(
                "# counted with x\nworkload\tunit\tinstructions\nlines/one\tline\t9.00\n"
            )
        );
        assert_eq!(bounds.stale(&["lines/one"]).collect::<Vec<_>>(), ["decode/one"]);
    }

    #[test]
    fn an_invalid_file_is_reported_with_its_line_number() {
        for damaged in ["decode/one\trecord", "decode/one\trecord\tmany", ""] {
            let error = Bounds::parse(&format!("# x\n{damaged}\n")).unwrap_err();
            let text = "expected a workload, a unit and a number, separated by tabs";
            assert_eq!(error, format!("bench/instructions.tsv:2: {text}"));
        }
    }

    #[test]
    fn the_count_is_found_in_cachegrinds_output() {
        let old = b"BENCH records=0\n==7== \n==7== I   refs:      1,450,679\n";
        assert_eq!(instructions(old), Ok(1_450_679));
        assert_eq!(instructions(b"==7== I refs:        12\n"), Ok(12));
        let error = instructions(b"valgrind: no such tool\n").unwrap_err();
        assert_eq!(error, "valgrind printed no instruction count:\nvalgrind: no such tool\n");
    }
}
