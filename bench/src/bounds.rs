//! What `bin/instructions.rs` compares: the counts of `bench/instructions.tsv`, and verdicts on new
//! ones. It starts nothing and reads no file.

use std::fmt::Write as _;

/// A count may be so much above the one in the file. Of one program it differs by less than 1 %,
/// and one more allocation for a small record is 10 %. A count that is as much below should become
/// the new bound.
pub const SLACK_PERCENT: f64 = 5.0;

/// The file, as messages name it.
pub const FILE: &str = "bench/instructions.tsv";

/// The command that writes the file anew, as messages name it.
pub const BLESS: &str = "e2e/instructions.sh --bless";

/// The processor that the counts are of. Valgrind hides AVX-512 from the programs that it runs, so
/// counts are the same on hosts with it and without.
pub const CPU_LEVEL: &str = "AVX2";

/// The best instructions of the kinds that libraries choose by, as this very process sees its
/// processor.
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

/// The instructions that cachegrind says it has counted, in what it wrote to stderr.
///
/// # Errors
/// It says nothing of the kind: all that it says instead.
pub fn instructions(stderr: &[u8]) -> Result<u64, String> {
    let stderr = String::from_utf8_lossy(stderr);
    let count = stderr.lines().find_map(|line| {
        let (_, count) = line.split_once("== I ")?.1.split_once("refs:")?;
        count.trim().replace(',', "").parse().ok()
    });
    count.ok_or_else(|| format!("valgrind counted nothing, but said:\n{stderr}"))
}

/// What a work takes.
#[derive(Debug, Clone, PartialEq)]
pub struct Count {
    /// The work's name.
    pub workload: String,
    /// What the instructions are counted for.
    pub unit: String,
    /// How many instructions one unit takes.
    pub instructions: f64,
}

/// What a count is to the one in the file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict {
    /// As many, give or take the slack.
    Same,
    /// More than the slack allows.
    More,
    /// So few that the file should say so.
    Fewer,
    /// The file does not have the workload.
    Unknown,
}

/// The counts of the file.
#[derive(Debug, Default, PartialEq)]
pub struct Bounds {
    /// With which tools they were counted.
    pub tools: String,
    counts: Vec<Count>,
}

impl Bounds {
    /// Reads the file's text.
    ///
    /// # Errors
    /// A line has not the three columns.
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
                    "{FILE}:{}: not a workload, a unit and a number with tabs between",
                    index + 1
                )
            })?);
        }
        Ok(bounds)
    }

    /// The text that the file should have after these counts, some or all of `works`, which gives
    /// the order. Works that there are no more are left out.
    pub fn blessed(&self, counts: &[Count], works: &[&str], tools: &str) -> String {
        let mut text = format!(
            "# Instructions a unit, on a processor with {CPU_LEVEL}; bench/README.md says what for.\n\
             # Do not edit: {BLESS}\n# counted with {tools}\nworkload\tunit\tinstructions\n"
        );
        for workload in works {
            let is_it = |count: &&Count| count.workload == *workload;
            if let Some(count) = counts.iter().find(is_it).or(self.counts.iter().find(is_it)) {
                let Count { workload, unit, instructions } = count;
                let _ = writeln!(text, "{workload}\t{unit}\t{instructions:.2}");
            }
        }
        text
    }

    /// Compares a count with the file's, and says it in a line; where that is not as it should be,
    /// also what to do.
    pub fn judge(&self, count: &Count, tools: &str) -> (Verdict, String) {
        let Count { workload, unit, instructions } = count;
        let Some(bound) = self.counts.iter().find(|bound| bound.workload == *workload) else {
            let text = format!(
                "{workload}: {instructions:.2} instructions a {unit}, and {FILE} has no bound for it\n\
                 hint: {BLESS} {workload}"
            );
            return (Verdict::Unknown, text);
        };
        let percent = (instructions / bound.instructions - 1.0) * 100.0;
        let is = format!("{workload}: {instructions:.2} instructions a {unit}, {percent:+.1} %");
        let bound = bound.instructions;
        if percent > SLACK_PERCENT {
            let most = bound * (1.0 + SLACK_PERCENT / 100.0);
            let mut text = format!(
                "{is}: more than {most:.2}, which is {SLACK_PERCENT} % over the {bound:.2} in {FILE}\n\
                 hint: bench/README.md says how to see where they are spent\n\
                 hint: if it has to cost that much, say why in the commit, with a new bound: \
                 {BLESS} {workload}",
            );
            if self.tools != tools {
                let _ = write!(text, "\nnote: that was with {}; this is {tools}", self.tools);
            }
            (Verdict::More, text)
        } else if percent < -SLACK_PERCENT {
            let text = format!(
                "{is}: so many fewer than the {bound:.2} in {FILE} that it should say so\n\
                 hint: hold on to it by a new bound: {BLESS} {workload}"
            );
            (Verdict::Fewer, text)
        } else {
            (Verdict::Same, is)
        }
    }

    /// Works of the file that there are no more.
    pub fn stale<'b>(&'b self, works: &'b [&str]) -> impl Iterator<Item = &'b str> {
        let names = self.counts.iter().map(|count| count.workload.as_str());
        names.filter(|name| !works.contains(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# Instructions a unit, on a processor with AVX2; bench/README.md says what for.
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

    fn judge(workload: &str, instructions: f64, tools: &str) -> (Verdict, String) {
        Bounds::parse(TEXT).unwrap().judge(&count(workload, instructions), tools)
    }

    #[test]
    fn what_is_within_the_slack_is_the_same() {
        let (verdict, text) = judge("decode/one", 209.0, "");
        assert_eq!(verdict, Verdict::Same);
        assert_eq!(text, "decode/one: 209.00 instructions a record, +4.5 %");
        assert_eq!(judge("decode/one", 191.0, "").0, Verdict::Same);
    }

    #[test]
    fn a_regression_names_the_work_the_count_the_bound_and_what_to_do() {
        let (verdict, text) = judge("decode/one", 230.0, "rustc 1, valgrind-3");
        assert_eq!(verdict, Verdict::More);
        assert_eq!(
            text,
            "decode/one: 230.00 instructions a record, +15.0 %: more than 210.00, which is 5 % over \
             the 200.00 in bench/instructions.tsv\n\
             hint: bench/README.md says how to see where they are spent\n\
             hint: if it has to cost that much, say why in the commit, with a new bound: \
             e2e/instructions.sh --bless decode/one"
        );
        let (_, text) = judge("decode/one", 230.0, "rustc 2, valgrind-3");
        assert!(
            text.ends_with(
                "\nnote: that was with rustc 1, valgrind-3; this is rustc 2, valgrind-3"
            ),
            "{text}"
        );
    }

    #[test]
    fn an_improvement_is_to_be_held_on_to() {
        let (verdict, text) = judge("lines/one", 10.0, "");
        assert_eq!(verdict, Verdict::Fewer);
        assert_eq!(
            text,
            "lines/one: 10.00 instructions a line, -20.0 %: so many fewer than the 12.50 in \
             bench/instructions.tsv that it should say so\n\
             hint: hold on to it by a new bound: e2e/instructions.sh --bless lines/one"
        );
    }

    #[test]
    fn a_work_without_a_bound_is_none_that_passes() {
        let (verdict, text) = judge("lines/two", 10.0, "");
        assert_eq!(verdict, Verdict::Unknown);
        assert_eq!(
            text,
            "lines/two: 10.00 instructions a line, and bench/instructions.tsv has no bound for it\n\
             hint: e2e/instructions.sh --bless lines/two"
        );
    }

    #[test]
    fn some_counts_are_renewed_and_the_others_stay() {
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
    fn a_damaged_file_is_told_by_its_line() {
        for damaged in ["decode/one\trecord", "decode/one\trecord\tmany", ""] {
            let error = Bounds::parse(&format!("# x\n{damaged}\n")).unwrap_err();
            let text = "not a workload, a unit and a number with tabs between";
            assert_eq!(error, format!("bench/instructions.tsv:2: {text}"));
        }
    }

    #[test]
    fn the_count_is_found_in_what_cachegrind_writes() {
        let old = b"BENCH records=0\n==7== \n==7== I   refs:      1,450,679\n";
        assert_eq!(instructions(old), Ok(1_450_679));
        assert_eq!(instructions(b"==7== I refs:        12\n"), Ok(12));
        let error = instructions(b"valgrind: no such tool\n").unwrap_err();
        assert_eq!(error, "valgrind counted nothing, but said:\nvalgrind: no such tool\n");
    }
}
