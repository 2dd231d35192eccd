//! The report as one self-contained page.

use std::fmt::Write as _;

use super::{Report, escape};

const HEAD: &str = "<!doctype html>
<html lang=\"en\">
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width\">
<title>Conformance report</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color-scheme: light dark }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .35rem .75rem .35rem 0; border-bottom: 1px solid #8886 }
td:first-child { white-space: nowrap }
td { overflow-wrap: anywhere }
.failed td:first-child { color: #c22; font-weight: bold }
</style>
<h1>Conformance report</h1>
";

pub(in crate::conformance) fn render(report: &Report) -> String {
    let (url, summary) = (escape(&report.url), escape(&report.summary()));
    let mut page = format!("{HEAD}<p>{url}</p>\n<p>{summary}</p>\n<table>\n<tr><th>State<th>Case<th>Contract<th>Detail\n");
    for result in &report.results {
        let (state, name) = (result.state.name(), result.case.name);
        let class = state.replace(' ', "-");
        let (sentence, detail) = (escape(result.case.sentence), escape(&result.state.detail().unwrap_or_default()));
        // Writing to a string can't fail.
        let _ = writeln!(page, "<tr class=\"{class}\"><td>{state}<td>{name}<td>{sentence}<td>{detail}");
    }
    page + "</table>\n</html>\n"
}
