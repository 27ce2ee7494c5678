//! Checks of security contexts, of pods and of containers, in the words of Kubernetes.

use std::collections::HashSet;

use serde_json::Value;

use crate::resource::{
    field::Errors,
    fields::{at, items, text},
    names::NameRule,
};

const PROFILE_TYPES: [&str; 3] = ["Localhost", "RuntimeDefault", "Unconfined"];
const SYSCTL_BYTES_MAX: usize = 253;
const APP_ARMOR_BYTES_MAX: usize = 4095;
const CREDENTIAL_SPEC_BYTES_MAX: usize = 64 * 1024;
const SYSCTL: &str = "must have at most 253 characters and match regex \
    ([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?";

/// Checks the security context of a pod, with what beside it has to do with it.
pub(super) fn of_pod(spec: &Value, path: &str, errors: &mut Errors) {
    if let Some(os) = spec.get("os").filter(|os| os.is_object()) {
        match text(os, "name") {
            "" => errors.required(&format!("{path}.os.name"), "cannot be empty"),
            "linux" | "windows" => {}
            other => errors.not_supported(&format!("{path}.os.name"), other, &["linux", "windows"]),
        }
    }
    let context = &spec["securityContext"];
    let path = format!("{path}.securityContext");
    if spec["hostPID"] == true && spec["shareProcessNamespace"] == true {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.invalid(&format!("{path}.shareProcessNamespace"), &spec["shareProcessNamespace"], detail);
    }
    ids(context, &["runAsUser", "runAsGroup", "fsGroup"], &path, errors);
    for (index, group) in items(context, "supplementalGroups") {
        id(group, &format!("{path}.supplementalGroups[{index}]"), errors);
    }
    errors.one_of(
        &format!("{path}.supplementalGroupsPolicy"),
        &context["supplementalGroupsPolicy"],
        &["Merge", "Strict"],
    );
    errors.one_of(
        &format!("{path}.fsGroupChangePolicy"),
        &context["fsGroupChangePolicy"],
        &["Always", "OnRootMismatch"],
    );
    sysctls(spec, &path, errors);
    profiles(context, &path, errors);
    windows(context, spec, &path, errors);
}

/// Checks the security context of a container.
pub(super) fn of_container(spec: &Value, container: &Value, path: &str, errors: &mut Errors) {
    let context = &container["securityContext"];
    let path = format!("{path}.securityContext");
    ids(context, &["runAsUser", "runAsGroup"], &path, errors);
    errors.one_of(&format!("{path}.procMount"), &context["procMount"], &["Default", "Unmasked"]);
    if context["procMount"] == "Unmasked" && spec["hostUsers"] != false {
        let detail = "`hostUsers` must be false to use `Unmasked`";
        errors.invalid(&format!("{path}.procMount"), &context["procMount"], detail);
    }
    profiles(context, &path, errors);
    if context["allowPrivilegeEscalation"] == false {
        if context["privileged"] == true {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.invalid(&path, context, detail);
        }
        if items(at(context, &["capabilities"]), "add").any(|(_, name)| name == "CAP_SYS_ADMIN") {
            let detail =
                "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.invalid(&path, context, detail);
        }
    }
    windows(context, spec, &path, errors);
}

fn ids(context: &Value, keys: &[&str], path: &str, errors: &mut Errors) {
    for key in keys {
        id(&context[*key], &format!("{path}.{key}"), errors);
    }
}

fn id(value: &Value, path: &str, errors: &mut Errors) {
    let fits =
        |number: &serde_json::Number| number.as_i64().is_some_and(|n| (0..=i64::from(i32::MAX)).contains(&n));
    if value.as_number().is_some_and(|number| !fits(number)) {
        errors.invalid(path, value, "must be between 0 and 2147483647, inclusive");
    }
}

fn sysctls(spec: &Value, path: &str, errors: &mut Errors) {
    let mut names = HashSet::new();
    for (index, sysctl) in items(&spec["securityContext"], "sysctls") {
        let path = format!("{path}.sysctls[{index}].name");
        let name = text(sysctl, "name");
        if name.is_empty() {
            errors.required(&path, "");
        } else if !is_sysctl(name) {
            errors.invalid_text(&path, name, SYSCTL);
        } else if !names.insert(name) {
            errors.duplicate(&path, &sysctl["name"]);
        }
        // Those of the pod's own namespaces mean nothing where it has none, or mean the machine's.
        let dotted = name.replace('/', ".");
        if spec["hostNetwork"] == true && dotted.starts_with("net.") {
            errors.invalid_text(&path, name, "may not be specified when 'hostNetwork' is true");
        }
        if spec["hostIPC"] == true
            && ["kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue."]
                .iter()
                .any(|of| dotted.starts_with(of))
        {
            errors.invalid_text(&path, name, "may not be specified when 'hostIPC' is true");
        }
    }
}

fn is_sysctl(name: &str) -> bool {
    let word = |word: &str| {
        let end = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        word.starts_with(end) && word.ends_with(end) && word.chars().all(|c| end(c) || matches!(c, '-' | '_'))
    };
    name.len() <= SYSCTL_BYTES_MAX && name.split(['.', '/']).all(word)
}

fn profiles(context: &Value, path: &str, errors: &mut Errors) {
    let local = "localhostProfile";
    if let Some(profile) = context.get("seccompProfile").filter(|profile| profile.is_object()) {
        let path = format!("{path}.seccompProfile");
        profile_type("seccompProfile", profile, &path, errors);
        let path = format!("{path}.{local}");
        match (text(profile, "type"), profile.get(local).and_then(Value::as_str)) {
            ("Localhost", None) => errors.required(&path, "must be set when seccomp type is Localhost"),
            ("Localhost", Some(file)) => {
                if file.starts_with('/') {
                    errors.invalid_text(&path, file, "must be a relative path");
                }
                if file.split('/').any(|part| part == "..") {
                    errors.invalid_text(&path, file, "must not contain '..'");
                }
            }
            (_, Some(_)) => {
                errors.invalid(&path, profile, "can only be set when seccomp type is Localhost");
            }
            (_, None) => {}
        }
    }
    if let Some(profile) = context.get("appArmorProfile").filter(|profile| profile.is_object()) {
        let path = format!("{path}.appArmorProfile");
        profile_type("appArmorProfile", profile, &path, errors);
        let path = format!("{path}.{local}");
        match (text(profile, "type"), profile.get(local).and_then(Value::as_str)) {
            ("Localhost", Some(name)) if name.trim() != name => {
                errors.invalid_text(&path, name.trim(), "must not be padded with whitespace");
            }
            ("Localhost", None | Some("")) => {
                errors.required(&path, "must be set when AppArmor type is Localhost");
            }
            ("Localhost", Some(name)) if name.len() > APP_ARMOR_BYTES_MAX => {
                errors.too_long(&path, APP_ARMOR_BYTES_MAX);
            }
            ("Localhost", Some(_)) | (_, None) => {}
            (_, Some(name)) => {
                errors.invalid_text(&path, name, "can only be set when AppArmor type is Localhost");
            }
        }
    }
}

fn profile_type(of: &str, profile: &Value, path: &str, errors: &mut Errors) {
    match text(profile, "type") {
        "" => errors.required(&format!("{path}.type"), &format!("type is required when {of} is set")),
        known if PROFILE_TYPES.contains(&known) => {}
        other => errors.not_supported(&format!("{path}.type"), other, &PROFILE_TYPES),
    }
}

fn windows(context: &Value, spec: &Value, path: &str, errors: &mut Errors) {
    let Some(options) = context.get("windowsOptions").filter(|options| options.is_object()) else { return };
    let path = format!("{path}.windowsOptions");
    if spec["os"]["name"] == "linux" {
        errors.forbidden(&path, "windows options cannot be set for a linux pod");
    }
    if let Some(name) = options.get("gmsaCredentialSpecName").and_then(Value::as_str) {
        for wrong in NameRule::Subdomain.check(name) {
            errors.invalid_text(&format!("{path}.gmsaCredentialSpecName"), name, &wrong);
        }
    }
    if let Some(credentials) = options.get("gmsaCredentialSpec").and_then(Value::as_str) {
        let path = format!("{path}.gmsaCredentialSpec");
        if credentials.is_empty() {
            errors.invalid_text(&path, "", "gmsaCredentialSpec cannot be an empty string");
        } else if credentials.len() > CREDENTIAL_SPEC_BYTES_MAX {
            errors.too_long(&path, CREDENTIAL_SPEC_BYTES_MAX);
        }
    }
    if options.get("runAsUserName").and_then(Value::as_str) == Some("") {
        errors.invalid_text(&format!("{path}.runAsUserName"), "", "runAsUserName cannot be an empty string");
    }
    if options["hostProcess"] == true && spec["hostNetwork"] != true {
        let detail = "hostNetwork must be true if pod contains any hostProcess containers";
        errors.invalid(&format!("{path}.hostProcess"), &options["hostProcess"], detail);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::validate_spec;
    use super::*;

    /// `field: message` of everything that is wrong with a pod with these additions.
    fn wrong(more: Value, context: Value) -> Vec<String> {
        let mut spec = json!({"containers": [{"name": "c", "image": "i", "securityContext": context}]});
        for (key, value) in more.as_object().into_iter().flatten() {
            spec[key.as_str()] = value.clone();
        }
        let mut errors = Errors::default();
        validate_spec(&spec, "spec", &mut errors);
        errors.into_causes().into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
    }

    fn of_pod(context: Value) -> Vec<String> {
        wrong(json!({"securityContext": context}), json!({}))
    }

    fn of_container(context: Value) -> Vec<String> {
        wrong(json!({}), context)
    }

    #[test]
    fn what_kubernetes_takes_is_taken() {
        let pod = json!({
            "runAsUser": 0, "runAsGroup": 2_147_483_647, "fsGroup": 7, "fsGroupChangePolicy": "OnRootMismatch",
            "supplementalGroups": [0, 5], "supplementalGroupsPolicy": "Strict",
            "seccompProfile": {"type": "Localhost", "localhostProfile": "profiles/a.json"},
            "appArmorProfile": {"type": "RuntimeDefault"},
            "sysctls": [{"name": "kernel.shm_rmid_forced", "value": "1"}, {"name": "net/ipv4/ip_forward", "value": "0"}],
        });
        let container = json!({
            "privileged": false, "allowPrivilegeEscalation": false, "procMount": "Default",
            "capabilities": {"add": ["SYS_TIME"], "drop": ["ALL"]}, "seccompProfile": {"type": "Unconfined"},
            "windowsOptions": {"runAsUserName": "me"},
        });
        assert_eq!(wrong(json!({"securityContext": pod, "os": {"name": "windows"}}), container), [""; 0]);
        let unmasked = json!({"procMount": "Unmasked"});
        assert_eq!(wrong(json!({"hostUsers": false}), unmasked), [""; 0]);
    }

    #[test]
    fn users_and_groups_have_their_range() {
        const RANGE: &str = "must be between 0 and 2147483647, inclusive";
        for key in ["runAsUser", "runAsGroup", "fsGroup"] {
            for (value, shown) in [(json!(-1), "-1"), (json!(2_147_483_648_i64), "2147483648")] {
                let told = format!("spec.securityContext.{key}: Invalid value: {shown}: {RANGE}");
                assert_eq!(of_pod(json!({key: value})), [told]);
            }
        }
        assert_eq!(
            of_pod(json!({"supplementalGroups": [1, -2]})),
            [format!("spec.securityContext.supplementalGroups[1]: Invalid value: -2: {RANGE}")]
        );
        assert_eq!(
            of_container(json!({"runAsUser": -1})),
            [format!("spec.containers[0].securityContext.runAsUser: Invalid value: -1: {RANGE}")]
        );
    }

    #[test]
    fn profiles_and_policies_are_those_that_exist() {
        const AT: &str = "spec.containers[0].securityContext";
        let told = |context: Value| of_container(context).join("; ");
        assert_eq!(
            told(json!({"seccompProfile": {"type": "Strict"}})),
            format!(
                "{AT}.seccompProfile.type: Unsupported value: \"Strict\": supported values: \"Localhost\", \
                 \"RuntimeDefault\", \"Unconfined\""
            )
        );
        assert_eq!(
            told(json!({"seccompProfile": {}})),
            format!("{AT}.seccompProfile.type: Required value: type is required when seccompProfile is set")
        );
        assert_eq!(
            told(json!({"seccompProfile": {"type": "Localhost"}})),
            format!(
                "{AT}.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost"
            )
        );
        let path = told(json!({"seccompProfile": {"type": "Localhost", "localhostProfile": "/etc/../x"}}));
        assert!(path.contains("must be a relative path") && path.contains("must not contain '..'"), "{path}");
        let stray = told(json!({"seccompProfile": {"type": "RuntimeDefault", "localhostProfile": "x"}}));
        assert!(stray.contains("can only be set when seccomp type is Localhost"), "{stray}");
        let armor = told(json!({"appArmorProfile": {"type": "Localhost", "localhostProfile": " x"}}));
        assert!(armor.contains("must not be padded with whitespace"), "{armor}");
        assert!(told(json!({"procMount": "Bare"})).contains("supported values: \"Default\", \"Unmasked\""));
        assert!(
            told(json!({"procMount": "Unmasked"})).contains("`hostUsers` must be false to use `Unmasked`")
        );
        assert_eq!(
            of_pod(json!({"fsGroupChangePolicy": "Never", "supplementalGroupsPolicy": "None"})).len(),
            2
        );
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let privileged = of_container(json!({"privileged": true, "allowPrivilegeEscalation": false}));
        assert!(
            privileged[0]
                .ends_with("cannot set `allowPrivilegeEscalation` to false and `privileged` to true"),
            "{privileged:?}"
        );
        let admin = json!({"allowPrivilegeEscalation": false, "capabilities": {"add": ["CAP_SYS_ADMIN"]}});
        assert_eq!(of_container(admin).len(), 1);
        let shared = wrong(json!({"hostPID": true, "shareProcessNamespace": true}), json!({}));
        assert_eq!(
            shared,
            [
                "spec.securityContext.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot both \
              be enabled"
            ]
        );
        let net = json!({"hostNetwork": true, "securityContext": {"sysctls": [{"name": "net.ipv4.ip_forward", "value": "1"}]}});
        assert!(wrong(net, json!({}))[0].ends_with("may not be specified when 'hostNetwork' is true"));
        let ipc = json!({"hostIPC": true, "securityContext": {"sysctls": [{"name": "kernel/shmmax", "value": "1"}]}});
        assert!(wrong(ipc, json!({}))[0].ends_with("may not be specified when 'hostIPC' is true"));
    }

    #[test]
    fn sysctls_have_a_form_and_stand_once() {
        let named = |names: &[&str]| {
            let list: Vec<Value> = names.iter().map(|name| json!({"name": name, "value": "1"})).collect();
            of_pod(json!({"sysctls": list}))
        };
        assert_eq!(named(&[""]), ["spec.securityContext.sysctls[0].name: Required value"]);
        assert!(named(&["net..x"])[0].contains("must have at most 253 characters"));
        assert!(named(&["Kernel.x"])[0].contains("must have at most 253 characters"));
        assert_eq!(
            named(&["kernel.sem", "kernel.sem"]),
            ["spec.securityContext.sysctls[1].name: Duplicate value: \"kernel.sem\""]
        );
    }

    #[test]
    fn windows_options_are_for_windows() {
        let options = json!({"windowsOptions": {"hostProcess": true, "runAsUserName": ""}});
        let told = wrong(json!({"os": {"name": "linux"}}), options);
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told[0].ends_with("Forbidden: windows options cannot be set for a linux pod"));
        assert_eq!(
            wrong(json!({"os": {"name": "plan9"}}), json!({})),
            ["spec.os.name: Unsupported value: \"plan9\": supported values: \"linux\", \"windows\""]
        );
    }
}
