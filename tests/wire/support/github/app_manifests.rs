//! GitHub's manifest flow: what its form does with a manifest, and the code that it hands out.
//! <https://docs.github.com/en/apps/sharing-github-apps/registering-a-github-app-from-a-manifest>

use serde_json::{Value, json};

use super::key::{self, Key};
use super::routes::{Answer, Asked, app};
use super::{App, Double, State};

/// The secret of the webhook of an App that was made of a manifest.
pub const MADE_SECRET: &str = "the-webhook-secret-that-github-made";

impl Double {
    /// Somebody presses *Create GitHub App* in GitHub's form, to which a page has posted this manifest. Returns the code, or what
    /// the form says.
    pub fn create_app(&self, owner: &str, manifest: &Value) -> Result<String, String> {
        let https =
            |value: &Value| value.as_str().is_some_and(|url| url.starts_with("https://") || url.starts_with("http://127.0.0.1"));
        let name = manifest["name"].as_str().unwrap_or_default();
        if name.is_empty() || name.chars().count() > 34 {
            return Err("Name is too long (maximum is 34 characters), or missing".into());
        }
        if !https(&manifest["url"]) || !https(&manifest["redirect_url"]) || !https(&manifest["hook_attributes"]["url"]) {
            return Err(format!("a URL is missing or wrong: {manifest}"));
        }
        let known = ["name", "url", "hook_attributes", "redirect_url", "public", "default_events", "default_permissions"];
        if let Some(other) = manifest.as_object().into_iter().flatten().find(|(field, _)| !known.contains(&field.as_str())) {
            return Err(format!("the double does not know {}", other.0));
        }
        let mut state = self.lock();
        let code = format!("{:040x}", state.id());
        state.manifests.insert(code.clone(), (owner.to_owned(), manifest.clone()));
        Ok(code)
    }
}

/// Hands the App out, once.
pub(super) fn convert(state: &mut State, asked: &Asked<'_>) -> Answer {
    let Some((owner, manifest)) = state.manifests.remove(asked.param("code")) else {
        return Answer::message(404, "Not Found");
    };
    let permissions = manifest["default_permissions"].clone();
    let mut made = app(&App { permissions, ..App::default() });
    let name = manifest["name"].as_str().unwrap_or_default();
    let slug = name.to_lowercase().replace(' ', "-");
    made["id"] = json!(state.id());
    made["owner"]["login"] = json!(owner);
    made["html_url"] = json!(format!("{}/apps/{slug}", asked.base));
    made["slug"] = json!(slug);
    made["name"] = json!(name);
    made["client_id"] = json!("Iv1.8a61f9b3a7aba766");
    made["client_secret"] = json!("1726be1638095a19edd134c77bde3aa2ece1e5d8");
    made["webhook_secret"] = json!(MADE_SECRET);
    made["pem"] = json!(key::private_key_pem(Key::First));
    Answer::json(201, made)
}
