//! The Helm chart in `deploy/helm`, linted and rendered by Helm itself.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// Renders the chart with `values`. The result has the findings of `helm lint`, the objects, and those of the manifest.
fn render(values: &Value) -> Value {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut python = Command::new(project.join("target/deploy/bin/python"))
        .arg("tests/suite/deploy/render.py")
        .current_dir(project)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("Helm in target/deploy, which tests/run installs");
    python.stdin.take().unwrap().write_all(values.to_string().as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Returns the objects of a rendered chart, by kind and name.
fn objects(rendered: &Value, list: &str) -> BTreeMap<String, Value> {
    assert_eq!(rendered["error"], Value::Null);
    let objects = rendered[list].as_array().unwrap().iter();
    let key = |object: &Value| format!("{} {}", object["kind"], object["metadata"]["name"]).replace('"', "");
    objects.map(|object| (key(object), object.clone())).collect()
}

/// Returns why the chart rejects `values`.
fn rejection(values: &Value) -> String {
    render(values)["error"].as_str().unwrap_or_else(|| panic!("{values} is accepted")).to_owned()
}

/// Removes what every chart adds: labels, a checksum that replaces pods, and a default that is written out.
fn remove_additions(value: &mut Value) {
    const ADDED: [&str; 6] = [
        "app.kubernetes.io/instance",
        "app.kubernetes.io/version",
        "app.kubernetes.io/managed-by",
        "helm.sh/chart",
        "checksum/settings",
        "imagePullPolicy",
    ];
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !ADDED.contains(&name.as_str()));
            fields.values_mut().for_each(remove_additions);
            fields.retain(|name, value| name != "annotations" || *value != json!({}));
        }
        Value::Array(values) => values.iter_mut().for_each(remove_additions),
        _ => {}
    }
}

#[test]
fn chart_renders_the_kubernetes_manifest_by_default() {
    let rendered = render(&json!({}));
    let (mut chart, manifest) = (objects(&rendered, "objects"), objects(&rendered, "manifest"));
    chart.values_mut().for_each(remove_additions);
    assert!(manifest.len() >= 6, "{manifest:#?}");
    assert_eq!(chart, manifest, "a change of one belongs into the other");
}

#[test]
fn chart_passes_helm_lint_and_the_kubernetes_schemas() {
    let all = json!({
        "image": {"repository": "registry.example.com/app", "digest": format!("sha256:{}", "0".repeat(64)), "pullSecrets": ["a"]},
        "ingress": {"enabled": true, "tlsSecretName": "certificate"},
        "serviceMonitor": {"enabled": true, "labels": {"release": "prometheus"}},
        "podAnnotations": {"a": "b"},
        "serviceAccountName": "proconf",
        "nodeSelector": {"a": "b"},
        "tolerations": [{"key": "a", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
        "service": {"annotations": {"a": "b"}},
    });
    for values in [json!({}), all] {
        let rendered = render(&values);
        assert_eq!((&rendered["lint"], &rendered["invalid"]), (&json!([]), &json!([])), "{values}");
    }
}

#[test]
fn chart_rejects_secrets_among_its_settings() {
    let rendered = render(&json!({}));
    let secret = objects(&rendered, "objects")["Secret proconf-app-server"]["stringData"].clone();
    let others = [
        "APP_CACHE__SENTINELS",
        "APP_SUMMARIES__PROXY",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
        "AWS_SESSION_TOKEN",
        "AZURE_CLIENT_SECRET",
        "AZURE_STORAGE_ACCOUNT_KEY",
        "AZURE_STORAGE_SAS_TOKEN",
        "GOOGLE_SERVICE_ACCOUNT_KEY",
        "PGPASSWORD",
    ];
    for name in secret.as_object().unwrap().keys().map(String::as_str).chain(others) {
        for value in [json!("canary"), json!(12_345_678)] {
            let reason = rejection(&json!({"settings": {name: value}}));
            assert!(reason.contains(name) && !reason.contains("canary"), "{reason}");
        }
    }
    let url = json!({"settings": {"APP_SUMMARIES__URL": "s3://user:canary@bucket"}});
    let reason = rejection(&url);
    assert!(reason.contains("APP_SUMMARIES__URL") && !reason.contains("canary"), "{reason}");
}

#[test]
fn chart_writes_settings_as_the_server_reads_them() {
    let settings = json!({
        "APP_AUTH__TOKEN_TTL": "1h",
        "APP_USERS__MIN_PASSWORD": 15,
        "APP_CATCH_UP__MAX_BYTES": 67_108_864,
        "APP_LOG__ACCESS": false,
    });
    let config = objects(&render(&json!({"settings": settings})), "objects")["ConfigMap proconf-app-server"]["data"].clone();
    for (name, value) in settings.as_object().unwrap() {
        assert_eq!(config[name], value.as_str().map_or_else(|| value.to_string(), str::to_owned), "{name}");
    }
    rejection(&json!({"settings": {"APP_USERS__MIN_PASSWORD": 15.5}}));
}

#[test]
fn chart_rejects_unknown_and_impossible_values() {
    for values in [
        json!({"replicas": 3}),
        json!({"replicaCount": 0}),
        json!({"image": {"tag": "latest"}}),
        json!({"image": {"digest": "sha256:0"}}),
        json!({"settings": {"APP_MANAGEMENT__LISTEN": "0.0.0.0:1"}}),
        json!({"settings": {"listen": "0.0.0.0:1"}}),
        json!({"ingress": {"enable": true}}),
        json!({"serviceMonitor": {"interval": "often"}}),
    ] {
        rejection(&values);
    }
}

#[test]
fn existing_secret_replaces_that_of_the_chart() {
    let objects = objects(&render(&json!({"secret": {"existing": "mine"}})), "objects");
    assert!(!objects.keys().any(|name| name.starts_with("Secret ")), "{:?}", objects.keys());
    let server = &objects["Deployment proconf-app-server"]["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(server["envFrom"][1]["secretRef"]["name"], "mine");
}

#[test]
fn changed_secret_replaces_the_pods() {
    let checksum = |secret: &str| {
        let objects = objects(&render(&json!({"secret": {"values": {"APP_AUTH__JWT_SECRET": secret}}})), "objects");
        objects["Deployment proconf-app-server"]["spec"]["template"]["metadata"]["annotations"].clone()
    };
    assert_ne!(checksum("a"), checksum("b"));
}

#[test]
fn ingress_and_service_monitor_lead_to_the_right_ports() {
    let values = json!({"ingress": {"enabled": true}, "serviceMonitor": {"enabled": true}});
    let objects = objects(&render(&values), "objects");
    let backend =
        &objects["Ingress proconf-app-server"]["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["port"]["name"];
    let service = &objects["Service proconf-app-server"];
    assert_eq!((&service["spec"]["ports"][0]["name"], service["spec"]["ports"].as_array().unwrap().len()), (backend, 1));
    // Prometheus finds one Service, which has the management port, and gets the job's name of deploy/alerts.yml.
    let monitor = &objects["ServiceMonitor proconf-app-server"]["spec"];
    let selected: Vec<&Value> = objects
        .values()
        .filter(|object| object["kind"] == "Service")
        .filter(|service| {
            let labels = monitor["selector"]["matchLabels"].as_object().unwrap();
            labels.iter().all(|(name, value)| service["metadata"]["labels"][name] == *value)
        })
        .collect();
    let [management] = selected[..] else { panic!("{selected:?}") };
    assert_eq!(management["spec"]["ports"][0]["name"], monitor["endpoints"][0]["port"]);
    let job = &management["metadata"]["labels"][monitor["jobLabel"].as_str().unwrap()];
    let rules = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/alerts.yml")).unwrap();
    assert!(rules.contains(&format!("up{{job={job}}}")), "{job}");
}

#[test]
fn chart_has_the_version_of_the_server() {
    let chart = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/helm/Chart.yaml")).unwrap();
    for field in ["version: ", "appVersion: "] {
        let version = chart.lines().find_map(|line| line.strip_prefix(field)).unwrap().trim_matches('"');
        assert_eq!(version, env!("CARGO_PKG_VERSION"), "{field}");
    }
}
