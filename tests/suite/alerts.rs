//! `deploy/alerts.yml`: valid rules, each with cases for promtool and a section in the runbook.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use yaml_rust2::{Yaml, YamlLoader};

const RULES: &str = "deploy/alerts.yml";
const CASES: &str = "deploy/alerts_test.yml";
const RUNBOOK: &str = "docs/OPERATIONS.md";

fn project() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn text(name: &str) -> String {
    fs::read_to_string(project().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn yaml(text: &str) -> Yaml {
    YamlLoader::load_from_str(text).unwrap().remove(0)
}

fn list(yaml: &Yaml) -> &[Yaml] {
    yaml.as_vec().map_or(&[], Vec::as_slice)
}

fn rules(rules: &str) -> Vec<Yaml> {
    list(&yaml(rules)["groups"]).iter().flat_map(|group| list(&group["rules"]).to_vec()).collect()
}

fn name(rule: &Yaml) -> &str {
    rule["alert"].as_str().expect("only alerts, no recording rules")
}

/// Runs Debian's promtool, from the package `prometheus`.
fn promtool(arguments: &[&str], file: &Path) {
    let output = Command::new("promtool").args(arguments).arg(file).output().expect("promtool, which tests/run installs");
    let printed = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&printed));
}

#[test]
fn alert_rules_are_valid() {
    promtool(&["check", "rules", "--lint=all", "--lint-fatal"], &project().join(RULES));
}

#[test]
fn alert_rules_fire_and_stay_silent_as_their_cases_say() {
    promtool(&["test", "rules"], &project().join(CASES));
}

/// Returns the rules without a case that fires, and those without a near miss.
fn without_case(rules: &[Yaml], cases: &Yaml) -> Vec<String> {
    let (mut firing, mut silent) = (BTreeSet::new(), BTreeSet::new());
    for case in list(&cases["tests"]) {
        let has_near_miss =
            list(&case["input_series"]).iter().any(|series| series["series"].as_str().unwrap().contains("instance=\"quiet"));
        for evaluation in list(&case["promql_expr_test"]) {
            let expression = evaluation["expr"].as_str().unwrap();
            let Some(alert) = expression.split("ALERTS{alertname=\"").nth(1).and_then(|rest| rest.split('"').next()) else {
                continue;
            };
            assert!(expression.contains("alertstate=\"firing\""), "{expression}");
            let fires = !list(&evaluation["exp_samples"]).is_empty();
            if fires {
                firing.insert(alert);
            }
            if has_near_miss {
                silent.insert(alert);
            }
        }
    }
    let missing = |kind, found: &BTreeSet<&str>| -> Vec<String> {
        rules.iter().map(name).filter(|rule| !found.contains(rule)).map(|rule| format!("{kind}: {rule}")).collect()
    };
    [missing("never fires", &firing), missing("no near miss", &silent)].concat()
}

#[test]
fn every_alert_rule_has_a_firing_case_and_a_near_miss() {
    let rules = rules(&text(RULES));
    assert!(rules.len() > 15, "{rules:?}");
    assert_eq!(without_case(&rules, &yaml(&text(CASES))), [""; 0], "add it to {CASES}");
}

#[test]
fn alert_rule_without_a_case_is_reported() {
    let rules = rules("groups: [{rules: [{alert: A}, {alert: B}, {alert: C}]}]");
    let cases = yaml(
        r#"
tests:
  - input_series: [{series: 'up{instance="fires"}'}]
    promql_expr_test: [{expr: 'sum (ALERTS{alertname="A",alertstate="firing"})', exp_samples: [{value: 1}]}]
  - input_series: [{series: 'up{instance="quiet"}'}]
    promql_expr_test: [{expr: 'sum (ALERTS{alertname="B",alertstate="firing"})', exp_samples: []}]
"#,
    );
    assert_eq!(without_case(&rules, &cases), ["never fires: B", "never fires: C", "no near miss: A", "no near miss: C"]);
}

#[test]
fn every_alert_rule_links_to_its_section_of_the_runbook() {
    let runbook = text(RUNBOOK);
    let sections: BTreeSet<String> =
        runbook.lines().filter_map(|line| line.strip_prefix("#### ")).map(str::to_lowercase).collect();
    let rules = rules(&text(RULES));
    for rule in &rules {
        let url = rule["annotations"]["runbook_url"].as_str().unwrap_or_else(|| panic!("{} has no runbook_url", name(rule)));
        let (page, anchor) = url.split_once('#').unwrap();
        assert_eq!((page, anchor), (RUNBOOK, name(rule).to_lowercase().as_str()), "{url}");
        assert!(sections.contains(anchor), "{RUNBOOK} has no section on {}", name(rule));
    }
    let alerts: BTreeSet<String> = rules.iter().map(|rule| name(rule).to_lowercase()).collect();
    let unused = sections.iter().filter(|section| section.starts_with("proconf") && !alerts.contains(*section));
    assert_eq!(unused.count(), 0, "a section of no alert in {sections:?}");
}

#[test]
fn alert_texts_use_only_labels_that_their_rule_keeps() {
    for rule in rules(&text(RULES)) {
        let expression = rule["expr"].as_str().unwrap();
        let grouped_by = expression.split(" by (").nth(1).and_then(|rest| rest.split(')').next());
        for annotation in ["summary", "description"] {
            let text = rule["annotations"][annotation].as_str().unwrap();
            for label in text.split("$labels.").skip(1).filter_map(|rest| rest.split(' ').next()) {
                let is_kept = grouped_by.map_or(label == "instance", |labels| labels.split(", ").any(|name| name == label));
                let is_absent = expression.starts_with("absent(");
                assert!(is_kept && !is_absent, "{}: the rule drops the label {label}", name(&rule));
            }
        }
        assert!(["page", "ticket"].contains(&rule["labels"]["severity"].as_str().unwrap()), "{}", name(&rule));
    }
}

/// Returns the expressions of the dashboard's panels.
fn dashboard_expressions(value: &Value) -> Vec<&str> {
    match value {
        Value::Object(fields) => {
            let expression = fields.get("expr").and_then(Value::as_str);
            expression.into_iter().chain(fields.values().flat_map(dashboard_expressions)).collect()
        }
        Value::Array(values) => values.iter().flat_map(dashboard_expressions).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn dashboard_expressions_are_valid() {
    let dashboard = serde_json::from_str(&text("deploy/grafana-dashboard.json")).unwrap();
    let expressions = dashboard_expressions(&dashboard);
    assert!(expressions.len() > 30, "{expressions:?}");
    let rule = |(index, expression): (usize, &&str)| {
        let expression = expression.replace("$__rate_interval", "5m");
        format!("  - record: dashboard:expression:{index}\n    expr: {}\n", Value::from(expression))
    };
    let rules: String = expressions.iter().enumerate().map(rule).collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.yml");
    fs::write(&file, format!("groups:\n- name: dashboard\n  rules:\n{rules}")).unwrap();
    promtool(&["check", "rules"], &file);
}
