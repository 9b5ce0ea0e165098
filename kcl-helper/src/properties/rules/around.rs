//! Rules about the environment: settings that the daemon does not use, modules that it lacks.

use super::super::keys::{Kind, V2_7};
use super::credentials;
use super::{Facts, Hint, Place, Remark, Remarks};

/// Variables that users expect to act on the daemon: the name, what it does not do, and the cure.
const UNUSED: &[(&str, &str, &str)] = &[
    ("HTTPS_PROXY", "uses no proxy", PROXY),
    ("https_proxy", "uses no proxy", PROXY),
    ("AWS_CA_BUNDLE", "does not read certificates from it", BUNDLE),
];

const PROXY: &str = "let the daemon reach AWS directly, for example through VPC endpoints";
const BUNDLE: &str = "import the certificates into a trust store, and start the JVM with \
    `-Djavax.net.ssl.trustStore=FILE`";

pub(super) fn variable_without_effect(facts: &Facts<'_>) -> Remarks {
    let environment = facts.request.environment;
    let mut remarks: Remarks = UNUSED
        .iter()
        .filter(|(name, ..)| environment.variable(name).is_some())
        .map(|(name, what, cure)| {
            let message = format!("{name} is set, but the daemon {what}");
            Remark::new(Place::NOWHERE, message).hint(Hint::say(*cure))
        })
        .collect();
    let has_old = environment.variable("AWS_ACCESS_KEY").is_some();
    if has_old && environment.variable("AWS_ACCESS_KEY_ID").is_none() && facts.version() >= V2_7 {
        let message = "AWS_ACCESS_KEY is set, but the daemon does not read it";
        let hint = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";
        remarks.extend(Some(Remark::new(Place::NOWHERE, message).hint(Hint::say(hint))));
    }
    remarks
}

/// Settings of a profile that need a module of the SDK that the daemon's jars do not have.
const MODULES: &[(&str, &str)] =
    &[("sso_session", "sso"), ("sso_start_url", "sso"), ("login_session", "signin")];

pub(super) fn profile_needs_module(facts: &Facts<'_>) -> Remarks {
    let request = facts.request;
    let lists = facts.settings.iter().filter(|s| s.row.is_some_and(|r| r.kind == Kind::Providers));
    let mut remarks = Remarks::default();
    for setting in lists {
        for (place, profile) in credentials::profiles(facts, setting) {
            let found = MODULES
                .iter()
                .find(|(key, _)| request.environment.profile_has(profile, key, request.jvm_args));
            let Some((key, module)) = found else { continue };
            let message = format!(
                "the profile needs the SDK's module `{module}`, which is not among the daemon's jars"
            );
            let hint = "export the credentials with `aws configure export-credentials \
                --format env`, and set them in the environment";
            remarks.push(
                Remark::new(place, message)
                    .label(format!("the profile sets {key}"))
                    .hint(Hint::say(hint)),
            );
        }
    }
    remarks
}
