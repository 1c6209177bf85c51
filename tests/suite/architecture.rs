//! Rules of the source tree that no lint can check (docs/style.md: STY-1, STY-6, STY-7, STY-10, STY-60).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below `dir` with this extension, sorted; nothing below `target`.
fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(dir) else {
        return found;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir()
            && path
                .file_name()
                .is_some_and(|name| name != "target" && name != ".git")
        {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn controllers() -> Vec<PathBuf> {
    let mut crates: Vec<PathBuf> = fs::read_dir(root().join("controllers"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("Cargo.toml").exists())
        .collect();
    crates.sort();
    crates
}

/// Lines of the section `[dependencies]` of a manifest.
fn dependencies(manifest: &Path, section: &str) -> Vec<String> {
    let text = fs::read_to_string(manifest).unwrap();
    text.lines()
        .skip_while(|line| line.trim() != section)
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .map(str::to_owned)
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .collect()
}

#[test]
fn sty_1_controllers_depend_on_no_other_controller() {
    let mut offences = Vec::new();
    for dir in controllers() {
        for section in ["[dependencies]", "[dev-dependencies]"] {
            for line in dependencies(&dir.join("Cargo.toml"), section) {
                let name = line.split(['.', ' ', '=']).next().unwrap_or_default().to_owned();
                let allowed = ["steersman-shared", "steersman-crds"];
                let of_test = section == "[dev-dependencies]" && name == "steersman-sandbox";
                if name.starts_with("steersman") && !allowed.contains(&name.as_str()) && !of_test {
                    offences.push(format!("{}: {section} {name}", dir.display()));
                }
            }
        }
    }
    assert!(offences.is_empty(), "{offences:#?}");
}

#[test]
fn sty_6_the_sandbox_depends_on_no_controller() {
    for section in ["[dependencies]", "[dev-dependencies]"] {
        let ours: Vec<String> = dependencies(&root().join("sandbox/Cargo.toml"), section)
            .into_iter()
            .filter(|line| line.starts_with("steersman-"))
            .collect();
        assert!(ours.is_empty(), "{section} {ours:?}");
    }
}

#[test]
fn sty_7_versions_stand_only_in_the_workspace() {
    let mut offences = Vec::new();
    let mut manifests: Vec<PathBuf> = controllers()
        .into_iter()
        .map(|dir| dir.join("Cargo.toml"))
        .collect();
    manifests.push(root().join("sandbox/Cargo.toml"));
    manifests.push(root().join("crds/Cargo.toml"));
    manifests.push(root().join("Cargo.toml"));
    for manifest in manifests {
        for section in ["[dependencies]", "[dev-dependencies]"] {
            for line in dependencies(&manifest, section) {
                if !line.contains("workspace = true") {
                    offences.push(format!("{}: {line}", manifest.display()));
                }
            }
        }
    }
    assert!(offences.is_empty(), "{offences:#?}");
}

/// What a planner may not mention: each would make the same snapshot give different plans, or do I/O.
const BANNED_IN_PLANNERS: [&str; 11] = [
    ".await",
    "kube::",
    "tokio::",
    "rand::",
    "fastrand",
    "SystemTime",
    "Instant::now",
    "Timestamp::now",
    "std::env",
    "std::fs",
    "Mutex<",
];

#[test]
fn sty_10_planners_are_pure() {
    let mut offences = Vec::new();
    let mut planners = 0;
    for dir in controllers() {
        let source = dir.join("src");
        let mut paths = files(&source.join("plan"), "rs");
        paths.extend(Some(source.join("plan.rs")).filter(|path| path.exists()));
        planners += paths.len();
        for path in paths {
            let text = fs::read_to_string(&path).unwrap();
            for (number, line) in text.lines().enumerate() {
                let code = line.split("//").next().unwrap_or_default();
                // Views of API objects live in `kube`-typed modules of shared; naming a type is not I/O.
                for word in BANNED_IN_PLANNERS.iter().filter(|word| code.contains(**word)) {
                    offences.push(format!("{}:{}: {word}", path.display(), number + 1));
                }
            }
        }
    }
    assert!(planners >= 3, "the scan finds no planners any more");
    assert!(offences.is_empty(), "{offences:#?}");
}

#[test]
fn sty_13_only_act_holds_a_client() {
    let mut offences = Vec::new();
    for dir in controllers().into_iter().filter(|dir| !dir.ends_with("shared")) {
        for path in files(&dir.join("src"), "rs") {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if name == "act.rs" || name == "lib.rs" || path.components().any(|part| part.as_os_str() == "act")
            {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            if text.contains("kube::Client") || text.contains("Api<") {
                offences.push(path.display().to_string());
            }
        }
    }
    assert!(offences.is_empty(), "{offences:#?}");
}

/// Server-side apply would raise conflicts with the native controllers' fields, a full update could rewrite
/// `managedFields`, and each writer has one name.
#[test]
fn take_7_controllers_patch_plainly_and_under_one_name_each() {
    let mut managers = BTreeMap::new();
    for dir in controllers() {
        for path in files(&dir.join("src"), "rs") {
            if path.file_name().is_some_and(|name| name == "tests.rs") {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let is_test = path.ends_with("tests.rs");
            let code = text.split("#[cfg(test)]").next().filter(|_| !is_test);
            let code = code.unwrap_or_default();
            for banned in ["Patch::Apply", ".replace_status(", "managed_fields = Some"] {
                assert!(!code.contains(banned), "{}: {banned}", path.display());
            }
            for line in code.lines().filter(|line| line.contains("const FIELD_MANAGER")) {
                let name = line.split('"').nth(1).unwrap().to_owned();
                let former = managers.insert(name.clone(), path.clone());
                assert_eq!(former, None, "{name}");
            }
        }
    }
    let names: Vec<&str> = managers.keys().map(String::as_str).collect();
    for name in ["steersman-deployment", "steersman-guard", "steersman-replicaset"] {
        assert!(names.contains(&name), "{names:?}");
    }
}

/// Requirement IDs in a text, in the form `RS-12`; only of the areas in `prefixes`.
fn requirements(text: &str, prefixes: &[&str], upper: bool) -> BTreeSet<String> {
    let separator = if upper { '-' } else { '_' };
    let mut found = BTreeSet::new();
    for prefix in prefixes {
        let needle = format!(
            "{}{separator}",
            if upper {
                (*prefix).to_owned()
            } else {
                prefix.to_lowercase()
            }
        );
        for (at, _) in text.match_indices(&needle) {
            let before = text[..at].chars().next_back();
            if before.is_some_and(|c| c.is_ascii_alphanumeric()) {
                continue;
            }
            let digits: String = text[at + needle.len()..]
                .chars()
                .take_while(char::is_ascii_digit)
                .collect();
            let Ok(first) = digits.parse::<u32>() else {
                continue;
            };
            // `inv_1_to_inv_15_…` names all from the first to the last.
            let rest = &text[at + needle.len() + digits.len()..];
            let last = rest.strip_prefix(&format!("_to_{needle}")).unwrap_or_default();
            let last: String = last.chars().take_while(char::is_ascii_digit).collect();
            let last = last.parse::<u32>().unwrap_or(first);
            found.extend((first..=last).map(|number| format!("{prefix}-{number}")));
        }
    }
    found
}

/// Requirements of complete areas that no test is named after, and why.
const UNTESTED: [(&str, &str); 0] = [];

/// What a line says about the tests that it begins: the name of a function that starts with a requirement, or the
/// requirements that a test registers.
fn names_a_test(line: &str) -> bool {
    let name = line.split("fn ").nth(1).unwrap_or_default();
    let starts = ["rs_", "dep_", "take_", "inv_", "sch_", "sinv_", "api_"];
    starts.iter().any(|start| name.starts_with(start)) || line.contains("req(")
}

/// Lists the requirements that no test is named after, and fails for those of complete areas.
#[test]
fn sty_60_requirements_without_a_test_are_listed() {
    const AREAS: [(&str, &[&str]); 3] = [
        ("workloads", &["RS", "DEP", "TAKE", "INV"]),
        ("scheduler", &["SCH", "SINV"]),
        ("apiserver", &["API"]),
    ];
    /// Areas whose every requirement has a test; adding one here makes a missing test fail.
    const COMPLETE: [&str; 1] = ["workloads"];

    let mut tested = BTreeSet::new();
    for path in files(root(), "rs") {
        let text = fs::read_to_string(&path).unwrap();
        for line in text.lines().filter(|line| names_a_test(line)) {
            for (_, prefixes) in AREAS {
                tested.extend(requirements(line, prefixes, false));
            }
        }
    }
    let mut missing: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (area, prefixes) in AREAS {
        let spec = fs::read_to_string(root().join(format!("docs/specs/{area}.md"))).unwrap();
        let wanted = requirements(&spec, prefixes, true);
        let without: Vec<String> = wanted.difference(&tested).cloned().collect();
        println!(
            "{area}: {} of {} requirements have a test",
            wanted.len() - without.len(),
            wanted.len()
        );
        println!("  without: {}", without.join(" "));
        missing.insert(area, without);
    }
    for area in COMPLETE {
        let excused = |id: &&String| UNTESTED.iter().any(|(untested, _)| untested == id);
        let missing: Vec<_> = missing[area].iter().filter(|id| !excused(id)).collect();
        assert!(missing.is_empty(), "{area}: no test is named after {missing:?}");
    }
}
