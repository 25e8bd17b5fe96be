//! The executables as Python wheels, in a bare environment and in Meltano; the definitions and the sample project.

use std::path::Path;
use std::process::Command;

use ldap_tests::meltano::{Project, meltano, root, said, wheels};
use ldap_tests::run::Program;
use ldap_tests::server::scratch;

/// What makes Meltano take our wheels, and nothing from anywhere else.
fn from_wheels(project: &Project) {
    let mut changed = project.read("meltano.yml");
    for name in ["tap-ldap", "target-ldap"] {
        let old = format!("pip_url: {name}");
        assert_eq!(changed.matches(&old).count(), 1, "{old}");
        changed = changed.replace(&old, &format!("{old} --find-links {} --no-index", wheels().display()));
    }
    project.write("meltano.yml", &changed);
}

#[test]
fn wheels_install_without_anything_else() {
    let dir = scratch();
    let venv = dir.path().join("venv");
    let ok = |command: &mut Command| {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        said(&output)
    };
    ok(Command::new("python3").arg("-m").arg("venv").arg(&venv));
    let mut pip = Command::new(venv.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--no-index", "--find-links"]).arg(wheels());
    ok(pip.args(["tap-ldap", "target-ldap", "ldap-service"]));
    for program in Program::ALL {
        let name = program.name();
        let version = ok(Command::new(venv.join("bin").join(name)).arg("--version"));
        assert_eq!(version.trim(), format!("{name} {}", env!("CARGO_PKG_VERSION")));
        let page = venv.join("share/man/man1").join(format!("{name}.1"));
        assert!(page.is_file(), "{}", page.display());
        let metadata = format!(
            "import importlib.metadata as m; d = m.metadata({name:?}); print(d['License-Expression'], m.requires({name:?}))"
        );
        let metadata = ok(Command::new(venv.join("bin/python")).arg("-c").arg(metadata));
        assert_eq!(metadata.trim(), "MIT OR Apache-2.0 None");
    }
}

#[test]
fn the_definitions_are_as_the_hub_has_them() {
    for (kind, name) in [("extractors", "tap-ldap"), ("loaders", "target-ldap")] {
        let definition = root().join("meltano").join(kind).join(name).join("flext.yml");
        let check = |path: &Path| {
            Command::new(meltano().join("bin/python"))
                .arg(root().join("tests/meltano/check_definition.py"))
                .arg(format!("plugin_definitions/{kind}.schema.json"))
                .arg(path)
                .output()
                .unwrap()
        };
        let output = check(&definition);
        assert!(output.status.success(), "{}: {}", definition.display(), said(&output));
        // The short definition is for projects; the hub's pages want the quality of a variant.
        let short = definition.with_file_name("short.yml");
        let text = std::fs::read_to_string(&short).unwrap();
        let dir = scratch();
        let path = dir.path().join("short.yml");
        std::fs::write(&path, format!("{text}quality: unknown\n")).unwrap();
        let output = check(&path);
        assert!(output.status.success(), "{}: {}", short.display(), said(&output));
        // That the check can fail.
        let dir = scratch();
        let broken = dir.path().join("broken.yml");
        let text = std::fs::read_to_string(&definition).unwrap();
        std::fs::write(&broken, text.replace("quality:", "qualities:").replace("\"integer\"", "\"number\""))
            .unwrap();
        let output = check(&broken);
        let said = said(&output);
        assert!(
            !output.status.success() && said.contains("'qualities'") && said.contains("'number'"),
            "{said}"
        );
    }
}

#[test]
fn meltano_adds_both_by_their_definitions_and_runs_them_from_wheels() {
    let project = Project::of(&serde_json::json!({}));
    for (kind, name) in [("extractors", "tap-ldap"), ("loaders", "target-ldap")] {
        let definition = root().join("meltano").join(kind).join(name).join("flext.yml");
        project.meltano(&["add", "--from-ref", definition.to_str().unwrap(), "--no-install", name]);
    }
    from_wheels(&project);
    let company = format!("ldif:{}", root().join("catalogs/demo/company.ldif").display());
    let copy = format!("ldif:{}", project.path("copy.ldif").display());
    project.meltano(&["config", "set", "tap-ldap", "server_url", &company]);
    project.meltano(&["config", "set", "target-ldap", "server_url", &copy]);
    // Not a list: what is an array or an object goes through the command line as JSON.
    let rewrite = r#"[{"from": "dc=example,dc=com", "to": "dc=copy,dc=test"}]"#;
    project.meltano(&["config", "set", "target-ldap", "dn_rewrite", rewrite]);
    project.meltano(&["install"]);
    for name in ["tap-ldap", "target-ldap"] {
        let version = project.meltano(&["invoke", name, "--version"]);
        assert_eq!(version.trim(), format!("{name} {}", env!("CARGO_PKG_VERSION")));
    }
    project.meltano(&["run", "tap-ldap", "target-ldap"]);
    let entries = |text: &str| text.lines().filter(|l| l.starts_with("dn:")).count();
    let source = std::fs::read_to_string(root().join("catalogs/demo/company.ldif")).unwrap();
    assert_eq!(entries(&project.read("copy.ldif")), entries(&source));
}

#[test]
fn the_sample_project_runs_as_its_readme_says() {
    let project = Project::copy_of(&root().join("meltano/project"));
    from_wheels(&project);
    project.meltano(&["install"]);
    assert!(project.says(&["config", "test", "tap-ldap"]).contains("Plugin configuration is valid"));
    let listed = project.meltano(&["select", "tap-ldap", "--list", "--all"]);
    assert!(listed.contains("[excluded ") && listed.contains("telephoneNumber"), "{listed}");
    let first = project.says(&["run", "mirror"]);
    assert!(first.contains("people: 3 added"), "{first}");
    let copy = project.read("copy.ldif");
    assert!(copy.contains("dn: uid=ada,ou=people,dc=copy,dc=example,dc=org"), "{copy}");
    assert!(copy.contains("member: uid=jun,ou=people,dc=copy,dc=example,dc=org"), "{copy}");
    assert!(!copy.contains("telephoneNumber"), "{copy}");
    let second = project.says(&["run", "mirror"]);
    assert!(second.contains("people: 0 added, 0 modified, 0 renamed, 0 deleted, 3 unchanged"), "{second}");
    project.meltano(&["run", "--full-refresh", "mirror"]);
    assert_eq!(project.read("copy.ldif"), copy);
    // Meltano keeps the catalog until it is told not to.
    let cached = || project.read(".meltano/run/tap-ldap/tap.properties.json");
    let source = project.read("source.ldif");
    project.write("source.ldif", &source.replace("sn: Lovelace", "sn: Lovelace\nx-new: 8"));
    project.meltano(&["run", "mirror"]);
    assert!(!cached().contains("x-new"));
    project.meltano(&["run", "--refresh-catalog", "mirror"]);
    assert!(cached().contains("x-new"));
}
