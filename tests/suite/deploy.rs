//! Checks `deploy/`, the Dockerfile and the operators' pages against the server, without a container engine.
//!
//! Settings and commands exist, timeouts fit one another, and image and unit are hardened.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use proconf_app_server::config::Config;
use yaml_rust2::{Yaml, YamlLoader};

const BINARY: &str = env!("CARGO_BIN_EXE_proconf-app-server");
const UNIT: &str = "deploy/proconf-app-server.service";

fn project() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn text(name: &str) -> String {
    fs::read_to_string(project().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn documents(name: &str) -> Vec<Yaml> {
    YamlLoader::load_from_str(&text(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Every deployment file and its text.
fn deployed_by() -> BTreeMap<String, String> {
    let mut names = vec!["Dockerfile".to_owned(), "docs/OPERATIONS.md".to_owned()];
    for file in files(&project().join("deploy")) {
        names.push(file.strip_prefix(project()).unwrap().to_str().unwrap().to_owned());
    }
    names.into_iter().map(|name| (name.clone(), text(&name))).collect()
}

/// The settings that `.env.example` lists, with their defaults.
fn settings() -> BTreeMap<String, String> {
    let example = text(".env.example");
    let lines = example.lines().filter_map(|line| line.split_once('='));
    lines.filter(|(name, _)| name.starts_with("APP_")).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn words<'a>(text: &'a str, start: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).filter(move |word| word.starts_with(start))
}

fn duration(text: &str) -> Duration {
    humantime::parse_duration(text).unwrap_or_else(|_| panic!("{text} is no duration"))
}

/// The value that a deployment gives to a setting, or the default.
fn effective(given: &Yaml, name: &str) -> Duration {
    duration(given[name].as_str().unwrap_or(&settings()[name]))
}

/// Asserts that drain and shutdown fit into the grace period of the platform.
fn assert_fits(grace: Duration, settings: &Yaml, platform: &str) {
    let [drain, shutdown, request, call] = [
        "APP_SERVER__DRAIN_FOR",
        "APP_SERVER__SHUTDOWN_TIMEOUT",
        "APP_SERVER__REQUEST_TIMEOUT",
        "APP_ADMIN_CONTROL__TIMEOUT",
    ]
    .map(|name| effective(settings, name));
    assert!(grace >= drain + shutdown + Duration::from_secs(5), "{platform} kills the server while it drains: {grace:?}");
    assert!(shutdown >= request, "{platform}: a request that got in may take longer than the stop waits");
    assert!(request > call, "{platform}: a request ends before the call to Admin Control that it waits for");
}

#[test]
fn deployment_settings_exist() {
    let settings = settings();
    assert!(settings.len() > 30, "{settings:?}");
    for (file, text) in deployed_by() {
        // What Kubernetes may put into a pod is named as a warning.
        for word in words(&text, "APP_").filter(|word| !["APP_", "APP_PORT"].contains(word)) {
            assert!(
                settings.contains_key(word.trim_end_matches("_FILE")),
                "{file} names {word}, which .env.example does not"
            );
        }
    }
}

#[test]
fn documented_metrics_exist() {
    let known = text("docs/METRICS.md");
    let guide = text("docs/OPERATIONS.md");
    let named: BTreeSet<&str> = ["proconf_", "process_"].iter().flat_map(|start| words(&guide, start)).collect();
    // Roles and databases of the examples are called so too.
    let metrics = named.iter().filter(|name| !["proconf_a", "proconf_b", "proconf_aside", "proconf_owner"].contains(name));
    let mut count = 0;
    for name in metrics {
        assert!(known.contains(&format!("`{name}`")), "docs/OPERATIONS.md names {name}, which docs/METRICS.md does not");
        count += 1;
    }
    assert!(count > 5, "{named:?}");
}

/// All pages below a folder.
fn pages(folder: &str) -> Vec<String> {
    let below = |entry: fs::DirEntry| {
        let (path, name) = (entry.path(), format!("{folder}/{}", entry.file_name().to_str().unwrap()));
        match path.extension() {
            Some(extension) if extension == "md" => vec![name],
            _ if path.is_dir() => pages(&name),
            _ => Vec::new(),
        }
    };
    fs::read_dir(project().join(folder)).unwrap().flat_map(|entry| below(entry.unwrap())).collect()
}

#[test]
fn documentation_links_resolve() {
    let all =
        [pages("docs"), ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"].map(str::to_owned).into()].concat();
    assert!(all.len() > 15, "{all:?}");
    for page in &all {
        let (text, folder) = (text(page), project().join(page).parent().unwrap().to_owned());
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            if link.starts_with("http") {
                continue;
            }
            assert!(folder.join(file).exists(), "{page} links to {link}");
            let is_it = |line: &&str| {
                let words = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
                line.starts_with('#') && words.chars().filter(|c| c.is_alphanumeric() || *c == '-').eq(heading.chars())
            };
            assert!(heading.is_empty() || !file.is_empty() || text.lines().any(|line| is_it(&line)), "{page}: #{heading}");
        }
    }
}

#[test]
fn documented_settings_file_is_valid() {
    let guide = text("docs/OPERATIONS.md");
    let files: Vec<&str> = guide.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!files.is_empty());
    for file in files {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("settings.toml");
        // What an operator fills in.
        fs::write(&path, file.replace("FILL IN", "Zu8sWnR0p9QfY3kVxA7dLmT1bCeHgJ5o")).unwrap();
        let config = Config::load(&BTreeMap::new(), Some(&path)).unwrap_or_else(|problems| panic!("{problems}\n{file}"));
        config.validate().unwrap_or_else(|problems| panic!("{problems}\n{file}"));
    }
}

#[test]
fn compose_file_allows_draining_with_least_privilege() {
    let documents = documents("deploy/compose.yaml");
    let [compose] = &documents[..] else { panic!("one document") };
    let app = &compose["services"]["app"];
    assert_fits(duration(app["stop_grace_period"].as_str().unwrap()), &app["environment"], "compose");
    assert_eq!(app["read_only"].as_bool(), Some(true));
    assert_eq!(app["cap_drop"][0].as_str(), Some("ALL"));
    assert_eq!(app["security_opt"][0].as_str(), Some("no-new-privileges:true"));
    assert!(app["ports"][0].as_str().unwrap().starts_with("127.0.0.1:"), "no plain HTTP to the world");
    assert_eq!(app["ports"].as_vec().unwrap().len(), 1, "the metrics are not published");
    enough_descriptors(app["ulimits"]["nofile"].as_i64().unwrap());
    for name in ["APP_AUTH__JWT_SECRET", "APP_DATABASE__URL"] {
        assert!(app["environment"][name].as_str().unwrap().contains(":?"), "{name} must be given");
    }
    let services = compose["services"].as_hash().unwrap();
    for (name, service) in services {
        for needed in service["depends_on"].as_vec().into_iter().flatten() {
            assert!(services.contains_key(needed), "{name:?} waits for {needed:?}");
        }
    }
}

/// Clients get three of four descriptors.
fn enough_descriptors(limit: i64) {
    let connections: i64 = settings()["APP_SERVER__MAX_CONNECTIONS"].parse().unwrap();
    assert!(limit / 4 * 3 >= connections, "{limit} descriptors are too few for {connections} connections");
}

fn of_kind<'a>(documents: &'a [Yaml], kind: &str) -> &'a Yaml {
    let found = documents.iter().find(|document| document["kind"].as_str() == Some(kind));
    found.unwrap_or_else(|| panic!("no {kind}"))
}

#[test]
fn kubernetes_manifest_allows_draining() {
    let documents = documents("deploy/kubernetes.yaml");
    let config = &of_kind(&documents, "ConfigMap")["data"];
    let deployment = of_kind(&documents, "Deployment");
    let pod = &deployment["spec"]["template"]["spec"];
    let grace = Duration::from_secs(pod["terminationGracePeriodSeconds"].as_i64().unwrap().unsigned_abs());
    assert_fits(grace, config, "Kubernetes");
    assert!(pod["containers"][0]["lifecycle"].is_badvalue(), "a preStop hook would count too");
    assert_eq!(deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"].as_i64(), Some(0));
    let replicas = deployment["spec"]["replicas"].as_i64().unwrap();
    assert!(replicas > of_kind(&documents, "PodDisruptionBudget")["spec"]["maxUnavailable"].as_i64().unwrap());
}

#[test]
fn kubernetes_manifest_probes_health_and_restricts_the_pod() {
    let documents = documents("deploy/kubernetes.yaml");
    let config = &of_kind(&documents, "ConfigMap")["data"];
    let pod = &of_kind(&documents, "Deployment")["spec"]["template"]["spec"];
    let server = &pod["containers"][0];
    let port = |name: &str| {
        let ports = server["ports"].as_vec().unwrap().iter();
        let found = ports.filter(|port| port["name"].as_str() == Some(name)).find_map(|port| port["containerPort"].as_i64());
        found.unwrap_or_else(|| panic!("no port {name}"))
    };
    for (name, setting) in [("http", "APP_SERVER__LISTEN"), ("management", "APP_MANAGEMENT__LISTEN")] {
        assert_eq!(config[setting].as_str(), Some(format!("0.0.0.0:{}", port(name)).as_str()), "{setting}");
    }
    for (probe, path) in
        [("startupProbe", "/health/live"), ("livenessProbe", "/health/live"), ("readinessProbe", "/health/ready")]
    {
        assert_eq!(server[probe]["httpGet"]["path"].as_str(), Some(path), "{probe}");
        port(server[probe]["httpGet"]["port"].as_str().unwrap());
    }
    assert_eq!(pod["securityContext"]["runAsNonRoot"].as_bool(), Some(true));
    assert_eq!(pod["automountServiceAccountToken"].as_bool(), Some(false));
    assert_eq!(server["securityContext"]["readOnlyRootFilesystem"].as_bool(), Some(true));
    assert_eq!(server["securityContext"]["allowPrivilegeEscalation"].as_bool(), Some(false));
    assert_eq!(server["securityContext"]["capabilities"]["drop"][0].as_str(), Some("ALL"));
    for limit in ["cpu", "memory"] {
        assert!(!server["resources"]["limits"][limit].is_badvalue(), "{limit}");
    }
    let secret = of_kind(&documents, "Secret")["stringData"].as_hash().unwrap();
    assert!(secret.iter().all(|(_, value)| value.as_str() == Some("")), "no default secret");
    // One label finds all of it.
    let labels = &of_kind(&documents, "Deployment")["spec"]["template"]["metadata"]["labels"];
    assert_eq!(&of_kind(&documents, "Service")["spec"]["selector"], labels);
    for kind in ["Deployment", "PodDisruptionBudget"] {
        assert_eq!(&of_kind(&documents, kind)["spec"]["selector"]["matchLabels"], labels, "{kind}");
    }
}

/// The last value of a key of the unit.
fn of_unit(key: &str) -> String {
    let unit = text(UNIT);
    let found = unit.lines().rev().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    found.unwrap_or_else(|| panic!("{key} is not in the unit")).to_owned()
}

#[test]
fn systemd_unit_allows_draining_and_enough_files() {
    assert_fits(Duration::from_secs(of_unit("TimeoutStopSec").parse().unwrap()), &Yaml::Null, "systemd");
    enough_descriptors(of_unit("LimitNOFILE").parse().unwrap());
    assert_eq!((of_unit("KillSignal").as_str(), of_unit("RestartPreventExitStatus").as_str()), ("SIGTERM", "78"));
    let restarts =
        ["Type", "Restart", "StartLimitIntervalSec", "RestartSec", "RestartSteps", "RestartMaxDelaySec"].map(of_unit);
    assert_eq!(restarts, ["notify", "on-failure", "0", "1", "5", "30"], "down until manual intervention otherwise");
}

#[test]
fn systemd_unit_is_valid_and_hardened() {
    let Ok(version) = Command::new("systemd-analyze").arg("--version").output() else {
        println!("there is no systemd-analyze here");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("proconf-app-server.service");
    // It wants to see the program; here that is the one under test.
    fs::write(&unit, text(UNIT).replace("/usr/local/bin/proconf-app-server", BINARY)).unwrap();
    let analyze = |arguments: &[&str]| {
        let output = Command::new("systemd-analyze").args(arguments).arg(&unit).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    };
    let (fine, said) = analyze(&["verify", "--man=no"]);
    let version = String::from_utf8_lossy(&version.stdout);
    let number: u32 = version.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or_default();
    // Since 254; ignored before.
    let is_newer =
        |line: &str| number < 254 && ["'RestartSteps'", "'RestartMaxDelaySec'"].iter().any(|key| line.contains(key));
    // Units of the machine itself may have their own problems.
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("proconf-app-server") && !is_newer(line)).collect();
    assert!(fine && ours.is_empty(), "{said}");
    // `security --offline` is there since 250.
    if number >= 250 {
        let (fine, said) = analyze(&["security", "--offline=true", "--no-pager", "--threshold=15"]);
        assert!(fine, "{said}");
    }
}

/// Else an alert or a metric is there on a developer's machine and never in production.
#[test]
fn server_reads_no_proc_file_that_the_unit_hides() {
    assert_eq!(of_unit("ProcSubset"), "pid");
    for file in files(&project().join("src")) {
        let text = fs::read_to_string(&file).unwrap_or_default();
        let code = text.split("#[cfg(test)]").next().unwrap();
        for rest in code.split("\"/proc/").skip(1) {
            assert!(rest.starts_with("self/"), "{} reads /proc/{}", file.display(), rest.split('"').next().unwrap());
        }
    }
}

/// The instructions of the Dockerfile, one a line, without comments.
fn instructions() -> Vec<String> {
    let text = text("Dockerfile").replace("\\\n", " ");
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn image_runs_as_non_root_with_a_health_check() {
    let instructions = instructions();
    let last = |name: &str| {
        let found = instructions.iter().rev().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        found.unwrap_or_else(|| panic!("no {name}"))
    };
    let user: u32 = last("USER").split(':').next().unwrap().parse().unwrap();
    assert!(user >= 1000);
    assert_eq!(last("STOPSIGNAL"), "SIGTERM");
    assert_eq!(last("ENTRYPOINT"), r#"["/usr/local/bin/proconf-app-server"]"#);
    assert!(last("HEALTHCHECK").ends_with(r#"CMD ["/usr/local/bin/proconf-app-server", "healthcheck"]"#));
    let of_last_stage: Vec<&String> = instructions.iter().skip_while(|line| *line != "FROM ${BASE_IMAGE}").collect();
    assert!(of_last_stage.iter().any(|line| line.starts_with("USER ")), "{of_last_stage:?}");
    for line in &instructions {
        let [mutable, downloads] = [":latest", "curl "].map(|word| line.contains(word));
        assert!(!mutable && !downloads && !line.starts_with("ADD "), "{line}");
    }
    let images: Vec<&str> = instructions
        .iter()
        .filter_map(|line| line.strip_prefix("ARG ")?.split_once("_IMAGE="))
        .map(|(_, image)| image)
        .collect();
    assert!(images.len() == 2 && images.iter().all(|image| image.contains(':')), "{images:?}");
    let build = instructions.iter().find(|line| line.contains("cargo build")).unwrap();
    assert!(build.contains(" --locked ") && build.contains(" --profile dist "), "{build}");
    // The same user in both, or a volume of the one can't be read by the other.
    let documents = documents("deploy/kubernetes.yaml");
    let pod = &of_kind(&documents, "Deployment")["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsUser"].as_i64(), Some(i64::from(user)));
}

#[test]
fn image_uses_a_supported_compiler() {
    let manifest = text("Cargo.toml");
    let least = manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap().trim_matches('"');
    let minor = |version: &str| version.split('.').nth(1).and_then(|minor| minor.parse::<u32>().ok()).unwrap();
    let instructions = instructions();
    let image = instructions.iter().find_map(|line| line.strip_prefix("ARG RUST_IMAGE=rust:")).unwrap();
    assert!(minor(image.split('-').next().unwrap()) >= minor(least), "{image} is older than {least}");
}

/// What `.dockerignore` lets through, which is what the Dockerfile copies.
fn build_context() -> Vec<String> {
    let ignore = text(".dockerignore");
    let mut lines = ignore.lines().filter(|line| !line.starts_with('#'));
    assert_eq!(lines.next(), Some("*"), "everything is excluded except what is listed");
    lines.filter_map(|line| line.strip_prefix('!')).map(str::to_owned).collect()
}

#[test]
fn image_build_context_is_minimal() {
    let context: BTreeSet<String> = build_context().into_iter().collect();
    let copied: BTreeSet<String> = instructions()
        .iter()
        .filter_map(|line| line.strip_prefix("COPY ").filter(|line| !line.starts_with("--from")))
        .flat_map(|line| line.rsplit_once(' ').unwrap().0.split(' ').map(str::to_owned).collect::<Vec<_>>())
        .collect();
    assert_eq!(context, copied);
    assert!(context.contains("build.rs") || !project().join("build.rs").exists(), "cargo would build without it");
    let folder = tempfile::tempdir().unwrap();
    for name in &context {
        copy(&project().join(name), &folder.path().join(name));
    }
    // Files that the code includes at compile time are in the context …
    let mut taken_in = 0;
    let is_code =
        |file: &&PathBuf| file.extension().is_some_and(|extension| extension == "rs") && !file.ends_with("tests.rs");
    for file in files(&folder.path().join("src")).iter().filter(is_code) {
        let code = fs::read_to_string(file).unwrap();
        for (macro_name, beside) in
            [("include_str!(\"", true), ("include_bytes!(\"", true), ("migrate!(\"", false), ("folder = \"", false)]
        {
            for path in code.split(macro_name).skip(1).filter_map(|rest| rest.split('"').next()) {
                let from = if beside { file.parent().unwrap() } else { folder.path() };
                let from_root = path.strip_prefix("$CARGO_MANIFEST_DIR/").map(|path| folder.path().join(path));
                assert!(
                    from_root.unwrap_or_else(|| from.join(path)).exists(),
                    "{}: {path} is not in the image",
                    file.display()
                );
                taken_in += 1;
            }
        }
    }
    assert!(taken_in >= 1, "the migrations");
    // … and so is all that Cargo.toml names.
    let cargo = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--locked", "--offline", "--format-version=1"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(cargo.status.success(), "{}", String::from_utf8_lossy(&cargo.stderr));
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
    }
}

/// The commands that the program (or one of its commands) lists in its help.
fn commands_of(arguments: &[&str]) -> BTreeSet<String> {
    let output = Command::new(BINARY).args(arguments).arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let list = help.split("Commands:\n").nth(1).unwrap_or_default();
    let lines = list.lines().take_while(|line| line.starts_with("  "));
    lines.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

/// The commands that `text` calls the program with, each as `user add` or `serve`.
fn commands_in(text: &str) -> Vec<String> {
    // A command may go on in the next line.
    let text = text.replace("\\\n#", " ").replace("\\\n", " ").replace(['"', '[', ']', ','], " ");
    let mut found = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.trim_start_matches(['#', ' ']).split_whitespace().collect();
        for (at, word) in words.iter().enumerate() {
            if *word != "proconf-app-server" && !word.ends_with("bin/proconf-app-server") {
                continue;
            }
            let mut rest = words[at + 1..].iter().skip_while(|word| **word == "proconf-app-server").peekable();
            if rest.next_if_eq(&&"--config").is_some() {
                rest.next();
            }
            let is_word = |word: &&&str| {
                word.starts_with(|c: char| c.is_ascii_lowercase()) && !word.contains(['/', '.', ':', '=', '|', '`'])
            };
            match (rest.next().filter(is_word), rest.next().filter(is_word)) {
                (Some(&"user"), Some(command)) => found.push(format!("user {command}")),
                (Some(command), _) => found.push((*command).to_owned()),
                _ => {}
            }
        }
    }
    found
}

#[test]
fn deployment_commands_exist() {
    let (commands, of_user) = (commands_of(&[]), commands_of(&["user"]));
    let is_command = |command: &str| match command.strip_prefix("user ") {
        Some(command) => of_user.contains(command),
        None => commands.contains(command),
    };
    let mut seen = BTreeSet::new();
    for (file, text) in deployed_by() {
        let text = match file.strip_suffix(".md") {
            // What is prose is not a command.
            Some(_) => text.lines().filter(|line| line.starts_with("    ")).collect::<Vec<_>>().join("\n"),
            None => text,
        };
        // Not what the program is given to another one for.
        let text = ["useradd", "systemctl", "install ", "journalctl", "docker build", "docker run", "cp ", "chown"]
            .iter()
            .fold(text, |text, other| text.lines().filter(|line| !line.contains(other)).collect::<Vec<_>>().join("\n"));
        for command in commands_in(&text) {
            assert!(is_command(&command), "{file} uses {command}, which the program does not have");
            seen.insert(command);
        }
    }
    for (manifest, command) in [
        (&documents("deploy/compose.yaml")[0]["services"]["admin-control"]["command"][0], "sandbox"),
        (
            &of_kind(&documents("deploy/kubernetes.yaml"), "Deployment")["spec"]["template"]["spec"]["containers"][0]["args"]
                [0],
            "serve",
        ),
    ] {
        assert_eq!(manifest.as_str(), Some(command));
        assert!(is_command(command));
    }
    for command in ["serve", "healthcheck", "user add", "check-config"] {
        assert!(seen.contains(command), "{command} is used nowhere: {seen:?}");
    }
}

#[test]
fn unknown_deployment_command_is_detected() {
    let text = "CMD [\"/usr/local/bin/proconf-app-server\", \"healthchekc\"]\n# x | proconf-app-server \\\n#   user ad --email\nsudo -u proconf-app-server proconf-app-server --config /etc/x.toml migrate\nExecStart=/usr/local/bin/proconf-app-server --config /etc/x serve";
    assert_eq!(commands_in(text), ["healthchekc", "user ad", "migrate", "migrate", "serve"]);
}

#[test]
fn haproxy_timeouts_fit_those_of_the_server() {
    let example = text("deploy/haproxy.cfg");
    let given = |key: &str| example.split(&format!("{key} ")).nth(1).unwrap().split_whitespace().next().unwrap();
    let of_server = |name: &str| effective(&Yaml::Null, name);
    assert!(duration(given("timeout server")) > of_server("APP_SERVER__REQUEST_TIMEOUT"));
    let checks: u32 = given(" fall").parse().unwrap();
    assert!(duration(given("check inter")) * checks < of_server("APP_SERVER__DRAIN_FOR"), "noticed while it drains");
}

#[test]
fn nginx_timeouts_fit_those_of_the_server() {
    let example = text("deploy/nginx.conf");
    let given =
        |key: &str| duration(example.split(&format!("{key} ")).nth(1).and_then(|rest| rest.split(';').next()).unwrap());
    let of_server = |name: &str| effective(&Yaml::Null, name);
    assert!(given("    keepalive_timeout") < of_server("APP_SERVER__KEEP_ALIVE"));
    assert!(given("proxy_read_timeout") > of_server("APP_SERVER__REQUEST_TIMEOUT"));
}

#[test]
fn ci_workflow_runs_the_ci_script_with_the_rust_of_the_image() {
    let workflow = documents(".github/workflows/ci.yml");
    let job = &workflow[0]["jobs"]["ci"];
    let steps: Vec<&str> = job["steps"].as_vec().unwrap().iter().filter_map(|step| step["run"].as_str()).collect();
    assert_eq!(steps.last(), Some(&".ci/run"));
    let of_image = text("Dockerfile").split("RUST_IMAGE=rust:").nth(1).unwrap().split('-').next().unwrap().to_owned();
    assert!(job["container"].as_str().unwrap().starts_with(&format!("rust:{of_image}-")), "{of_image}");
}

#[test]
fn justfile_runs_what_exists() {
    let recipes = text("justfile");
    for name in ["dev", "test", "lint", "openapi", "bench"] {
        assert!(recipes.lines().any(|line| line.split([' ', ':']).next() == Some(name)), "{name}");
    }
    for program in ["tests/run", "bench/run", "examples/postman.rs", "docs/clients/proconf.postman_collection.json"] {
        assert!(recipes.contains(program.trim_start_matches("examples/").trim_end_matches(".rs")), "{program} is not used");
        assert!(project().join(program).exists(), "{program} does not exist");
    }
}
