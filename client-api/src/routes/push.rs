//! `/_matrix/client/*/pushrules` ([spec])
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#push-rules-api

use accounts::{Accounts, PushRulesError, push_rule_id, push_rules_to_json, shown_push_rule_id};
use axum::{
    Router,
    extract::{FromRef, State},
    routing::{MethodFilter, any, get, on},
};
use http::StatusCode;
use ruma::{
    api::client::push::{
        PushRule, delete_pushrule, get_pushrule, get_pushrule_actions, get_pushrule_enabled,
        get_pushrules_all, get_pushrules_global_scope, set_pushrule, set_pushrule_actions,
        set_pushrule_enabled,
    },
    push::{
        Action, AnyPushRuleRef, InsertPushRuleError, NewPushRule, RemovePushRuleError, RuleKind,
        Ruleset,
    },
};
use serde_json::{Value, json};

use super::EndpointExt as _;
use crate::{
    error::Error,
    extract::{Authed, AuthedRaw, parse},
    gate::Gate,
    respond::{Matrix, RawJson},
};

const CHANGES: MethodFilter = MethodFilter::PUT.or(MethodFilter::DELETE);

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Accounts: FromRef<S>,
{
    let mut router = Router::new();
    for version in ["r0", "v3"] {
        let base = format!("/_matrix/client/{version}/pushrules");
        router = router
            .route(&format!("{base}/"), on(CHANGES, no_such_path))
            .route(&format!("{base}/global/"), on(CHANGES, no_such_path))
            .route(&format!("{base}/global/{{kind}}/"), get(get_kind).on(CHANGES, no_such_path))
            .route(&format!("{base}/{{*path}}"), any(no_such_path));
    }
    router
        .endpoint::<delete_pushrule::v3::Request, _, _>(delete_pushrule)
        .endpoint::<get_pushrule::v3::Request, _, _>(get_pushrule)
        .endpoint::<get_pushrule_actions::v3::Request, _, _>(get_pushrule_actions)
        .endpoint::<get_pushrule_enabled::v3::Request, _, _>(get_pushrule_enabled)
        .endpoint::<get_pushrules_all::v3::Request, _, _>(get_pushrules_all)
        .endpoint::<get_pushrules_global_scope::v3::Request, _, _>(get_pushrules_global_scope)
        .endpoint::<set_pushrule::v3::Request, _, _>(set_pushrule)
        .endpoint::<set_pushrule_actions::v3::Request, _, _>(set_pushrule_actions)
        .endpoint::<set_pushrule_enabled::v3::Request, _, _>(set_pushrule_enabled)
}

/// The rules of one kind. Not specified, though clients of old ask for them.
async fn get_kind(
    State(accounts): State<Accounts>,
    AuthedRaw { session, path_args, .. }: AuthedRaw,
) -> Result<RawJson, Error> {
    let kind = path_args.first().map(String::as_str).unwrap_or_default();
    let rules = accounts.push_rules(&session.user_id).await?;
    let mut rules = push_rules_to_json(&rules);
    match rules.get_mut(kind).map(serde_json::Value::take) {
        Some(rules) => Ok(RawJson(rules.to_string().into())),
        None => no_such_path().await,
    }
}

/// A path below `/pushrules` that names no rules is a wrong request, not an unknown endpoint; the
/// answer is Synapse's.
async fn no_such_path() -> Result<RawJson, Error> {
    let text = "The path names no scope, kind, rule or attribute";
    Err(Error::new(StatusCode::BAD_REQUEST, "M_UNRECOGNIZED", text))
}

fn no_rule() -> Error {
    Error::not_found("Push rule not found")
}

fn found<'a>(rules: &'a Ruleset, kind: RuleKind, rule_id: &str) -> Option<AnyPushRuleRef<'a>> {
    let rule_id = push_rule_id(&kind, rule_id);
    rules.get(kind, rule_id)
}

fn render(rule: AnyPushRuleRef<'_>) -> PushRule {
    let mut rule = described(rule);
    rule.rule_id = shown_push_rule_id(&rule.rule_id).to_owned();
    rule
}

fn described(rule: AnyPushRuleRef<'_>) -> PushRule {
    match rule {
        AnyPushRuleRef::Override(rule) | AnyPushRuleRef::Underride(rule) => rule.clone().into(),
        AnyPushRuleRef::Content(rule) => rule.clone().into(),
        AnyPushRuleRef::Room(rule) => rule.clone().into(),
        AnyPushRuleRef::Sender(rule) => rule.clone().into(),
    }
}

async fn get_pushrules_all(
    State(accounts): State<Accounts>,
    Authed { session, .. }: Authed<get_pushrules_all::v3::Request>,
) -> Result<RawJson, Error> {
    let rules = accounts.push_rules(&session.user_id).await?;
    let body = json!({ "global": push_rules_to_json(&rules) });
    Ok(RawJson(body.to_string().into()))
}

async fn get_pushrules_global_scope(
    State(accounts): State<Accounts>,
    Authed { session, .. }: Authed<get_pushrules_global_scope::v3::Request>,
) -> Result<RawJson, Error> {
    let rules = accounts.push_rules(&session.user_id).await?;
    Ok(RawJson(push_rules_to_json(&rules).to_string().into()))
}

async fn get_pushrule(
    State(accounts): State<Accounts>,
    Authed { session, req }: Authed<get_pushrule::v3::Request>,
) -> Result<Matrix<get_pushrule::v3::Response>, Error> {
    let rules = accounts.push_rules(&session.user_id).await?;
    let rule = found(&rules, req.kind, &req.rule_id).map(render).ok_or_else(no_rule)?;
    Ok(Matrix(get_pushrule::v3::Response { rule }))
}

async fn get_pushrule_actions(
    State(accounts): State<Accounts>,
    Authed { session, req }: Authed<get_pushrule_actions::v3::Request>,
) -> Result<Matrix<get_pushrule_actions::v3::Response>, Error> {
    let rules = accounts.push_rules(&session.user_id).await?;
    let rule = found(&rules, req.kind, &req.rule_id).ok_or_else(no_rule)?;
    let actions = rule.actions().to_vec();
    Ok(Matrix(get_pushrule_actions::v3::Response { actions }))
}

async fn get_pushrule_enabled(
    State(accounts): State<Accounts>,
    Authed { session, req }: Authed<get_pushrule_enabled::v3::Request>,
) -> Result<Matrix<get_pushrule_enabled::v3::Response>, Error> {
    let rules = accounts.push_rules(&session.user_id).await?;
    let enabled = found(&rules, req.kind, &req.rule_id).ok_or_else(no_rule)?.enabled();
    Ok(Matrix(get_pushrule_enabled::v3::Response { enabled }))
}

async fn set_pushrule(
    State(accounts): State<Accounts>,
    AuthedRaw { session, parts, mut path_args, body }: AuthedRaw,
) -> Result<Matrix<set_pushrule::v3::Response>, Error> {
    // Of a room rule the type of the request takes ids of rooms only.
    if let [kind, rule_id] = &mut *path_args {
        *rule_id = push_rule_id(&RuleKind::from(&**kind), rule_id);
    }
    let set_pushrule::v3::Request { rule, before, after } = parse(parts, &body, &path_args)?;
    check_actions(actions_of(&rule))?;
    let kind = rule.kind();
    let [before, after] = [before, after].map(|id| Some(push_rule_id(&kind, &id?)));
    accounts
        .change_push_rules(&session.user_id, |rules| {
            rules.insert(rule, after.as_deref(), before.as_deref())
        })
        .await
        .map_err(|error| refused(error, insert_error))?;
    Ok(Matrix(set_pushrule::v3::Response::new()))
}

fn actions_of(rule: &NewPushRule) -> &[Action] {
    match rule {
        NewPushRule::Override(rule) | NewPushRule::Underride(rule) => &rule.actions,
        NewPushRule::Content(rule) => &rule.actions,
        NewPushRule::Room(rule) => &rule.actions,
        NewPushRule::Sender(rule) => &rule.actions,
    }
}

/// An action that nobody knows is a mistake; those of old do nothing.
fn check_actions(actions: &[Action]) -> Result<(), Error> {
    let is_known = |action: &Action| match serde_json::to_value(action) {
        Ok(Value::String(name)) => ["notify", "dont_notify", "coalesce"].contains(&&*name),
        Ok(Value::Object(action)) => action.contains_key("set_tweak"),
        _ => false,
    };
    match actions.iter().all(is_known) {
        true => Ok(()),
        false => Err(Error::invalid_param("There is no such action")),
    }
}

fn insert_error(error: InsertPushRuleError) -> Error {
    match error {
        InsertPushRuleError::UnknownRuleId => Error::not_found(error.to_string()),
        other => Error::invalid_param(other.to_string()),
    }
}

async fn delete_pushrule(
    State(accounts): State<Accounts>,
    Authed { session, req }: Authed<delete_pushrule::v3::Request>,
) -> Result<Matrix<delete_pushrule::v3::Response>, Error> {
    accounts
        .change_push_rules(&session.user_id, |rules| {
            let rule_id = push_rule_id(&req.kind, &req.rule_id);
            rules.remove(req.kind, rule_id)
        })
        .await
        .map_err(|error| {
            refused(error, |error| match error {
                RemovePushRuleError::NotFound => no_rule(),
                other => Error::invalid_param(other.to_string()),
            })
        })?;
    Ok(Matrix(delete_pushrule::v3::Response::new()))
}

async fn set_pushrule_actions(
    State(accounts): State<Accounts>,
    Authed { session, req }: Authed<set_pushrule_actions::v3::Request>,
) -> Result<Matrix<set_pushrule_actions::v3::Response>, Error> {
    let set_pushrule_actions::v3::Request { kind, rule_id, actions } = req;
    check_actions(&actions)?;
    let rule_id = push_rule_id(&kind, &rule_id);
    accounts
        .change_push_rules(&session.user_id, |rules| rules.set_actions(kind, rule_id, actions))
        .await
        .map_err(|error| refused(error, |_missing| no_rule()))?;
    Ok(Matrix(set_pushrule_actions::v3::Response::new()))
}

async fn set_pushrule_enabled(
    State(accounts): State<Accounts>,
    Authed { session, req }: Authed<set_pushrule_enabled::v3::Request>,
) -> Result<Matrix<set_pushrule_enabled::v3::Response>, Error> {
    let set_pushrule_enabled::v3::Request { kind, rule_id, enabled } = req;
    let rule_id = push_rule_id(&kind, &rule_id);
    accounts
        .change_push_rules(&session.user_id, |rules| rules.set_enabled(kind, rule_id, enabled))
        .await
        .map_err(|error| refused(error, |_missing| no_rule()))?;
    Ok(Matrix(set_pushrule_enabled::v3::Response::new()))
}

fn refused<E>(error: PushRulesError<E>, explain: impl FnOnce(E) -> Error) -> Error {
    match error {
        PushRulesError::Refused(error) => explain(error),
        PushRulesError::TooLarge => Error::too_large("The push rules are too many or too large"),
        PushRulesError::Store(error) => error.into(),
    }
}
