//! The plan as a whole: what a usual configuration becomes, and what is refused by name.

use super::*;

const FACTS: Facts<'static> = Facts {
    user_namespace: UserNamespace::Caller,
    held: capabilities::Held { permitted: !0, bounding: !0 },
    keyring_of: Some("c1"),
    listen: None,
    personality: None,
    memory_policy: None,
    apparmor: false,
};

fn plan_of(json: &str) -> Result<(Plan, Vec<String>), Error> {
    let mut value = serde_json::json!({"user": {}, "cwd": "/", "args": ["sh"]});
    let more: serde_json::Value = serde_json::from_str(json).unwrap();
    value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    plan(&serde_json::from_value(value).unwrap(), &FACTS)
}

#[test]
fn a_small_process_becomes_a_plan() {
    let (plan, warnings) =
        plan_of(r#"{"noNewPrivileges":true,"oomScoreAdj":5,"capabilities":{"bounding":["CAP_KILL"]}}"#).unwrap();
    assert!(warnings.is_empty() && plan.no_new_privileges && !plan.in_user_namespace());
    assert_eq!((plan.oom_score, plan.capabilities.bounding, plan.identity.umask), (Some(5), 32, 0o22));
    assert_eq!(plan.keyring.unwrap().name.to_str().unwrap(), "_ses.c1");
}

#[test]
fn what_is_not_done_is_refused_by_name() {
    for (json, property) in [
        (r#"{"apparmorProfile":"docker-default"}"#, "process.apparmorProfile"),
        (r#"{"selinuxLabel":"a:b:c"}"#, "process.selinuxLabel"),
        (r#"{"commandLine":"cmd.exe"}"#, "process.commandLine"),
    ] {
        let text = plan_of(json).unwrap_err().to_string();
        assert!(text.starts_with(&format!("`{property}` is not supported: ")), "{text}");
    }
    assert!(plan_of(r#"{"apparmorProfile":"","selinuxLabel":"","execCPUAffinity":{"initial":"0"}}"#).is_ok());
}

#[test]
fn only_failures_of_the_program_have_codes_of_their_own() {
    assert_eq!(plan_of(r#"{"args":[]}"#).unwrap_err().exit_code(), 1);
}
