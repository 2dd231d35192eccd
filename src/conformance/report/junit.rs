//! The report as JUnit XML, as CI systems read it. Waived and untried cases are skipped ones.

use std::fmt::Write as _;

use super::{Report, Verdict, escape};

pub(in crate::conformance) fn render(report: &Report) -> String {
    let (tests, failures) = (report.results.len(), report.count("failed"));
    let skipped = report.count("waived") + report.count("not tried");
    let counts = format!(r#"tests="{tests}" failures="{failures}" errors="0""#);
    let mut xml = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"conformance\" {counts}>\n");
    let time = report.elapsed.as_secs_f64();
    // Writing to a string can't fail.
    let _ = writeln!(
        xml,
        r#"  <testsuite name="conformance" hostname="{}" {counts} skipped="{skipped}" time="{time:.3}">"#,
        escape(&report.url)
    );
    for result in &report.results {
        let (module, name) = result.case.name.split_once("::").unwrap_or(("", result.case.name));
        let time = result.elapsed.as_secs_f64();
        let _ = write!(xml, r#"    <testcase classname="conformance.{module}" name="{name}" time="{time:.3}""#);
        let detail = escape(&result.state.detail().unwrap_or_default());
        let _ = match result.state {
            Verdict::Held | Verdict::HeldAlthoughWaived => writeln!(xml, "/>"),
            Verdict::Failed(_) => {
                let contract = escape(result.case.sentence);
                writeln!(xml, r#"><failure message="{detail}">contract: {contract}</failure></testcase>"#)
            }
            _ => writeln!(xml, r#"><skipped message="{detail}"/></testcase>"#),
        };
    }
    xml + "  </testsuite>\n</testsuites>\n"
}
