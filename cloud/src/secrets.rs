//! Resolves references to secrets: the secrets are in SSM, in a file or in the environment. muster never prints them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use muster_message::keyring::Keyring;
use muster_operations::environment;
use muster_reconciler::manifest::{SecretRef, Spec};
use secrecy::{ExposeSecret as _, SecretString};

use crate::aws::Aws;
use muster_github::{Credentials, Proof};

/// The shortest token for the admin listener, in characters. The listener does not limit how often somebody tries, so a token must
/// be too long to be found by trying.
const SHORTEST_TOKEN: usize = 16;

/// Checks that a token of the admin listener cannot be found by trying.
pub(crate) fn long_enough(reference: &SecretRef, token: &SecretString) -> anyhow::Result<()> {
    if token.expose_secret().chars().count() < SHORTEST_TOKEN {
        bail!(
            "the token {reference} is shorter than {SHORTEST_TOKEN} characters, so others could find it by trying; put a longer one \
             there, such as the output of `openssl rand -hex 24`"
        );
    }
    Ok(())
}

/// Checks that the admin listener's two tokens are not one. Their references may differ, and lead to the same text.
///
/// # Errors
/// When the token for looking is the token for orders. The text names neither.
pub fn distinct(orders: Option<&SecretString>, looking: Option<&SecretString>) -> anyhow::Result<()> {
    if let (Some(orders), Some(looking)) = (orders, looking)
        && orders.expose_secret() == looking.expose_secret()
    {
        bail!(
            "Controller: spec.listen.viewToken and spec.listen.adminToken lead to the same token, so whoever looks could give orders, \
             too; give each its own"
        );
    }
    Ok(())
}

/// Resolves references to secrets.
#[derive(Clone, Debug)]
pub struct Secrets {
    aws: Aws,
    /// The directory that relative `file:` references begin at.
    base: PathBuf,
}

impl Secrets {
    /// `base` is the directory of the manifests.
    pub fn new(aws: Aws, base: &Path) -> Secrets {
        Secrets { aws, base: base.to_owned() }
    }

    /// The secret that a reference names. The newline that editors add at the end is removed.
    ///
    /// # Errors
    /// When the secret cannot be read, or is empty.
    pub async fn resolve(&self, reference: &SecretRef) -> anyhow::Result<SecretString> {
        let text = match reference {
            SecretRef::Ssm(name) => match self.aws.ssm.get(name).await {
                Ok(secret) => secret.expose_secret().to_owned(),
                Err(failure) => bail!("failed to read the secret {reference}: {}", failure.message),
            },
            SecretRef::File(path) => {
                let path = self.base.join(path);
                tokio::fs::read_to_string(&path)
                    .await
                    .with_context(|| format!("failed to read the secret file {}", path.display()))?
            }
            SecretRef::Env(name) => {
                let found = environment::read(name).with_context(|| format!("failed to read the secret {reference}"))?;
                found.with_context(|| format!("failed to read the secret {reference}; set the variable {name}"))?
            }
        };
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            bail!("the secret {reference} is empty; put the value there");
        }
        Ok(SecretString::from(text))
    }

    /// The private keys of the Apps, and the personal access tokens.
    pub async fn credentials(&self, spec: &Spec) -> anyhow::Result<Vec<Credentials>> {
        let mut all = Vec::new();
        for (name, app) in &spec.apps {
            let private_key =
                self.resolve(&app.spec.private_key).await.with_context(|| format!("GitHubApp {name}: spec.privateKey"))?;
            let (api_url, proof) = (app.spec.api_url.clone(), Proof::App(app.spec.app_id, private_key));
            all.push(Credentials { name: name.clone(), api_url, proof });
        }
        for (name, token) in &spec.tokens {
            let secret = self.resolve(&token.spec.token).await.with_context(|| format!("GitHubToken {name}: spec.token"))?;
            all.push(Credentials { name: name.clone(), api_url: token.spec.api_url.clone(), proof: Proof::Token(secret) });
        }
        Ok(all)
    }

    /// The token for orders. None: the manifests name none.
    pub async fn admin_token(&self, spec: &Spec) -> anyhow::Result<Option<SecretString>> {
        self.token(spec.controller.spec.listen.admin_token.as_ref()).await.context("Controller: spec.listen.adminToken")
    }

    /// The token for looking. None: the manifests name none, so everybody who reaches the listener may look.
    pub async fn view_token(&self, spec: &Spec) -> anyhow::Result<Option<SecretString>> {
        self.token(spec.controller.spec.listen.view_token.as_ref()).await.context("Controller: spec.listen.viewToken")
    }

    async fn token(&self, reference: Option<&SecretRef>) -> anyhow::Result<Option<SecretString>> {
        let Some(reference) = reference else { return Ok(None) };
        let token = self.resolve(reference).await?;
        long_enough(reference, &token)?;
        Ok(Some(token))
    }

    /// The webhook secrets of all Apps and enterprises. Any secret of an App may sign for that App.
    pub async fn webhook(&self, spec: &Spec) -> anyhow::Result<Arc<Keyring>> {
        let mut all = Vec::new();
        let of_apps = spec.apps.iter().map(|(name, app)| ("GitHubApp", name, &app.spec.webhook_secrets));
        let of_tokens = spec.tokens.iter().map(|(name, token)| ("GitHubToken", name, &token.spec.webhook_secrets));
        for (kind, name, references) in of_apps.chain(of_tokens) {
            let mut secrets = Vec::new();
            for reference in references {
                secrets.push(self.resolve(reference).await.with_context(|| format!("{kind} {name}: spec.webhookSecrets"))?);
            }
            all.push((name.clone(), secrets));
        }
        Ok(Arc::new(Keyring::new(all)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_token_is_refused_and_not_repeated() {
        let reference = SecretRef::Env("MUSTER_TOKEN".into());
        for short in ["hunter2", "fifteen letters"] {
            let said = long_enough(&reference, &SecretString::from(short)).expect_err("short").to_string();
            assert!(said.contains("env:MUSTER_TOKEN") && said.contains("openssl rand") && !said.contains(short), "{said}");
        }
        assert!(long_enough(&reference, &SecretString::from("sixteen  letters")).is_ok());
    }
    #[test]
    fn the_token_for_looking_is_not_the_one_for_orders() {
        let [one, same, other] = ["a-token-for-orders", "a-token-for-orders", "a-token-for-looking"].map(SecretString::from);
        let said = distinct(Some(&one), Some(&same)).expect_err("the same").to_string();
        assert!(said.contains("viewToken") && said.contains("adminToken") && !said.contains("a-token"), "{said}");
        for (orders, looking) in [(Some(&one), Some(&other)), (Some(&one), None), (None, Some(&one)), (None, None)] {
            assert!(distinct(orders, looking).is_ok());
        }
    }
}
