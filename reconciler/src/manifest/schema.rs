//! The JSON Schema of each kind, for editors. It is made from the types, so it cannot differ from what [`super::load()`] reads.
//! Rules about more than one field are left to validation: references to other manifests, and limits between fields.

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Value, json};

use super::{API_VERSION, ControllerManifest, GitHubApp, GitHubToken, RunnerPool};

/// The kinds of document.
pub const KINDS: [&str; 4] = ["Controller", "GitHubApp", "GitHubToken", "RunnerPool"];

/// The JSON Schema (draft 2020-12) of a whole document of this kind. None: there is no such kind.
pub fn schema(kind: &str) -> Option<Value> {
    match kind {
        "Controller" => Some(document::<ControllerManifest>(kind)),
        "GitHubApp" => Some(document::<GitHubApp>(kind)),
        "GitHubToken" => Some(document::<GitHubToken>(kind)),
        "RunnerPool" => Some(document::<RunnerPool>(kind)),
        _ => None,
    }
}

fn document<T: JsonSchema>(kind: &str) -> Value {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>().to_value();
    without_empty_defaults(&mut schema);
    if let Some(properties) = schema["properties"].as_object_mut() {
        properties.insert("apiVersion".into(), json!({"const": API_VERSION}));
        properties.insert("kind".into(), json!({"const": kind}));
    }
    schema["required"] = json!(["apiVersion", "kind", "metadata", "spec"]);
    schema["title"] = json!(kind);
    schema
}

/// Removes the default of required fields. It only means "not written yet", and an editor must not offer it.
fn without_empty_defaults(schema: &mut Value) {
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    let Value::Object(map) = schema else { return };
    if let Some(properties) = map.get_mut("properties").and_then(Value::as_object_mut) {
        for (_, property) in properties.iter_mut().filter(|(name, _)| required.iter().any(|r| r == name.as_str())) {
            property.as_object_mut().and_then(|p| p.remove("default"));
        }
    }
    map.values_mut().filter(|value| value.is_object()).for_each(without_empty_defaults);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every object of the schema that describes a struct.
    fn structs<'a>(schema: &'a Value, found: &mut Vec<&'a Value>) {
        if schema.get("properties").is_some() {
            found.push(schema);
        }
        match schema {
            Value::Object(map) => map.values().for_each(|v| structs(v, found)),
            Value::Array(list) => list.iter().for_each(|v| structs(v, found)),
            _ => {}
        }
    }

    #[test]
    fn every_kind_has_a_schema_that_admits_no_unknown_field() {
        for kind in KINDS {
            let schema = schema(kind).expect(kind);
            assert_eq!(schema["properties"]["kind"], json!({"const": kind}));
            assert_eq!(schema["properties"]["apiVersion"], json!({"const": "muster/v1"}));
            let mut found = Vec::new();
            structs(&schema, &mut found);
            assert!(found.len() > 2, "{kind}: {schema:#}");
            for one in found {
                assert_eq!(one["additionalProperties"], json!(false), "{kind}: {one:#}");
                assert!(
                    one["properties"]
                        .as_object()
                        .expect("properties")
                        .values()
                        .all(|p| p.get("description").is_some() || p.get("const").is_some())
                );
            }
        }
        assert_eq!(schema("Pod"), None);
    }

    #[test]
    fn what_is_required_is_said_and_has_no_default() {
        let pool = schema("RunnerPool").expect("a kind");
        assert_eq!(pool["$defs"]["RunnerPoolSpec"]["required"], json!(["github", "labels", "instance"]));
        assert_eq!(pool["$defs"]["InstanceSettings"]["required"], json!(["types", "subnets"]));
        assert_eq!(pool["$defs"]["PoolGitHub"]["properties"]["scope"].get("default"), None);
        assert_eq!(pool["$defs"]["Capacity"]["properties"]["max"]["default"], json!(10));
        let app = schema("GitHubApp").expect("a kind");
        assert_eq!(app["$defs"]["GitHubAppSpec"]["required"], json!(["appId", "privateKey", "webhookSecrets"]));
    }
}
