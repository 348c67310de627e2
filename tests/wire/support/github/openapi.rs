//! GitHub's own description of its API. It judges every request and answer that passes the double.
//!
//! The file is GitHub's (OpenAPI 3.0), unchanged. Two things change while it is loaded. `nullable` becomes JSON Schema's
//! null type. Request bodies become strict (no additional properties), so that a misspelt field fails.
//!
//! The paths with `deprecations` are from GitHub's description for Enterprise Cloud, which alone has them. github.com answers them
//! for free organisations, too.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use jsonschema::Validator;
use serde_json::{Map, Value, json};

/// Statuses that GitHub may answer on any route, although the description does not list them.
const ALWAYS_POSSIBLE: [u16; 10] = [304, 401, 403, 404, 409, 422, 429, 500, 502, 503];

/// The description, ready to judge.
pub struct Api {
    operations: Vec<Operation>,
    components: Value,
    strict_components: Value,
    parameters: Value,
    responses: Value,
    validators: Mutex<BTreeMap<String, Arc<Validator>>>,
}

/// One method on one path.
pub struct Operation {
    /// The method, such as `GET`.
    pub method: String,
    /// The path, such as `/orgs/{org}/actions/runners`.
    pub template: String,
    /// GitHub's operationId, such as `actions/list-self-hosted-runners-for-org`.
    pub id: String,
    said: Value,
}

impl Operation {
    /// The method and the path, such as `GET /orgs/{org}/actions/runners`.
    pub fn route(&self) -> String {
        format!("{} {}", self.method, self.template)
    }
}

/// What a request asks for: an operation, and its path parameters.
pub struct Match<'a> {
    pub operation: &'a Operation,
    /// The path parameters by name.
    pub params: BTreeMap<String, String>,
}

impl Api {
    /// Reads `tests/github/openapi.json`.
    pub fn load() -> Api {
        let mut said: Value = serde_json::from_str(include_str!("../../../github/openapi.json")).expect("openapi.json is JSON");
        modernise(&mut said);
        let mut operations = Vec::new();
        for (template, methods) in said["paths"].as_object().expect("paths") {
            for (method, operation) in methods.as_object().expect("methods") {
                operations.push(Operation {
                    method: method.to_uppercase(),
                    template: template.clone(),
                    id: operation["operationId"].as_str().expect("operationId").to_owned(),
                    said: operation.clone(),
                });
            }
        }
        let schemas = said["components"]["schemas"].take();
        let mut strict_schemas = schemas.clone();
        strict_schemas.as_object_mut().expect("schemas").values_mut().for_each(make_strict);
        Api {
            operations,
            components: json!({ "schemas": schemas }),
            strict_components: json!({ "schemas": strict_schemas }),
            parameters: said["components"]["parameters"].take(),
            responses: said["components"]["responses"].take(),
            validators: Mutex::default(),
        }
    }

    /// The operation that a request asks for. A literal segment of the path beats a parameter.
    pub fn find(&self, method: &str, path: &str) -> Option<Match<'_>> {
        let asked: Vec<&str> = path.trim_matches('/').split('/').collect();
        let fits = |operation: &Operation| {
            let segments: Vec<&str> = operation.template.trim_matches('/').split('/').collect();
            let parameter = |s: &str| s.starts_with('{');
            (operation.method == method
                && segments.len() == asked.len()
                && segments.iter().zip(&asked).all(|(s, a)| if parameter(s) { !a.is_empty() } else { s == a }))
            .then(|| segments.iter().filter(|s| !parameter(s)).count())
        };
        let (_, operation) = self.operations.iter().filter_map(|o| fits(o).map(|n| (n, o))).max_by_key(|(n, _)| *n)?;
        let names = operation.template.trim_matches('/').split('/');
        let params = names
            .zip(asked)
            .filter_map(|(name, value)| Some((name.strip_prefix('{')?.strip_suffix('}')?.to_owned(), value.to_owned())))
            .collect();
        Some(Match { operation, params })
    }

    /// What is wrong with a request. Empty: nothing.
    pub fn request_problems(&self, found: &Match<'_>, query: &[(String, String)], body: &[u8]) -> Vec<String> {
        let route = found.operation.route();
        let mut problems = Vec::new();
        let declared: Vec<&Value> =
            found.operation.said["parameters"].as_array().into_iter().flatten().map(|p| self.resolve(p)).collect();
        for (place, given) in
            [("path", found.params.iter().collect::<Vec<_>>()), ("query", query.iter().map(|(k, v)| (k, v)).collect())]
        {
            for (name, value) in given {
                match declared.iter().find(|p| p["in"] == place && p["name"] == **name) {
                    None => problems.push(format!("{route}: {place} parameter `{name}` does not exist")),
                    Some(parameter) => {
                        let read = match parameter["schema"]["type"].as_str() {
                            Some("integer" | "number") => value.parse::<i64>().map_or(json!(value), |n| json!(n)),
                            Some("boolean") => value.parse::<bool>().map_or(json!(value), |b| json!(b)),
                            _ => json!(value),
                        };
                        let key = format!("{route} {place} {name}");
                        problems.extend(self.judge(&key, &parameter["schema"], &self.components, &read));
                    }
                }
            }
        }
        for parameter in declared.iter().filter(|p| p["in"] == "query" && p["required"] == true) {
            if !query.iter().any(|(name, _)| parameter["name"] == **name) {
                problems.push(format!("{route}: query parameter {} is missing", parameter["name"]));
            }
        }
        problems.extend(self.body_problems(&route, &found.operation.said["requestBody"], body));
        problems
    }

    fn body_problems(&self, route: &str, declared: &Value, body: &[u8]) -> Vec<String> {
        let schema = &declared["content"]["application/json"]["schema"];
        if body.is_empty() {
            return if declared["required"] == true { vec![format!("{route}: the body is missing")] } else { Vec::new() };
        }
        let Ok(read) = serde_json::from_slice::<Value>(body) else { return vec![format!("{route}: the body is not JSON")] };
        if schema.is_null() {
            let empty = read.is_null() || read.as_object().is_some_and(Map::is_empty);
            return if empty { Vec::new() } else { vec![format!("{route}: takes no body, got {read}")] };
        }
        let mut strict = schema.clone();
        make_strict(&mut strict);
        self.judge(&format!("{route} request"), &strict, &self.strict_components, &read)
    }

    /// What is wrong with an answer. Empty: nothing.
    pub fn response_problems(&self, operation: &Operation, status: u16, body: Option<&Value>) -> Vec<String> {
        let route = operation.route();
        let declared = self.resolve(&operation.said["responses"][status.to_string()]);
        if declared.is_null() {
            let known = ALWAYS_POSSIBLE.contains(&status);
            return if known { Vec::new() } else { vec![format!("{route}: answer {status} is not in the description")] };
        }
        let schema = &declared["content"]["application/json"]["schema"];
        match body {
            None if schema.is_null() => Vec::new(),
            None => vec![format!("{route}: answer {status} lacks its body")],
            Some(body) if schema.is_null() => vec![format!("{route}: answer {status} has no body, got {body}")],
            Some(body) => self.judge(&format!("{route} answer {status}"), schema, &self.components, body),
        }
    }

    /// What is wrong with the payload of a webhook, by this schema.
    pub fn payload_problems(&self, schema: &str, payload: &Value) -> Vec<String> {
        self.judge(schema, &json!({ "$ref": format!("#/components/schemas/{schema}") }), &self.components, payload)
    }

    /// Follows a `$ref` to a parameter or a response.
    fn resolve<'a>(&'a self, said: &'a Value) -> &'a Value {
        let Some(reference) = said["$ref"].as_str() else { return said };
        let name = reference.rsplit('/').next().unwrap_or_default();
        if reference.contains("/parameters/") { &self.parameters[name] } else { &self.responses[name] }
    }

    fn judge(&self, key: &str, schema: &Value, components: &Value, value: &Value) -> Vec<String> {
        let mut validators = self.validators.lock().expect("nobody panics while judging");
        let validator = validators.entry(key.to_owned()).or_insert_with(|| {
            let whole = json!({
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "allOf": [schema],
                "components": components,
            });
            let built = jsonschema::draft202012::options().should_validate_formats(true).build(&whole);
            Arc::new(built.unwrap_or_else(|e| panic!("{key}: the schema does not compile: {e}")))
        });
        let problem = |e: jsonschema::ValidationError<'_>| format!("{key}: {} {e}", e.instance_path());
        validator.iter_errors(value).map(problem).collect()
    }
}

/// Turns OpenAPI 3.0 into JSON Schema: `nullable` becomes null in `type` and `enum`, or an alternative where there is no
/// type.
fn modernise(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(modernise),
        Value::Object(fields) => {
            fields.values_mut().for_each(modernise);
            if fields.get("nullable") != Some(&Value::Bool(true)) {
                return;
            }
            fields.remove("nullable");
            if let Some(Value::Array(choices)) = fields.get_mut("enum") {
                choices.push(Value::Null);
            }
            match fields.get_mut("type") {
                Some(kind) => *kind = json!([kind.take(), "null"]),
                None => *value = json!({ "anyOf": [value.take(), { "type": "null" }] }),
            }
        }
        _ => {}
    }
}

/// Makes every object that lists its properties refuse other ones.
fn make_strict(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(make_strict),
        Value::Object(fields) => {
            fields.values_mut().for_each(make_strict);
            if fields.get("properties").is_some_and(Value::is_object) && !fields.contains_key("additionalProperties") {
                fields.insert("additionalProperties".into(), Value::Bool(false));
            }
        }
        _ => {}
    }
}
