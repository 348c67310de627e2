//! What `muster init` has to know, and the form that each answer must have.

use std::env;
use std::io::BufRead;
use std::path::{Path, PathBuf};

use crate::cli::app::organisation;

/// What somebody asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClusterWish {
    /// What the pool registers in: `org/NAME` or `repo/OWNER/NAME`.
    pub scope: String,
    pub region: String,
    pub subnets: Vec<String>,
    pub cluster: String,
    /// The address of GitHub's REST API, without a slash at its end.
    pub api: String,
    /// The folder of the Terraform module, without symbolic links.
    pub module: PathBuf,
}

/// What the flags say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct GivenAnswers {
    pub org: Option<String>,
    pub repo: Option<String>,
    pub region: Option<String>,
    pub subnets: Vec<String>,
}

/// The scope, the region and the subnets.
type Answers = (String, String, Vec<String>);

impl GivenAnswers {
    /// The same, if all that is given has the right form. Err: one sentence for each answer that has not.
    pub fn judged(self) -> Result<GivenAnswers, Vec<String>> {
        let org = self.org.as_deref().map(organisation);
        let repo = self.repo.as_deref().map(repository);
        let region = self.region.as_deref().map(region);
        let subnets = self.subnets.iter().map(|one| subnet(one));
        let wrong: Vec<String> = org
            .and_then(Result::err)
            .into_iter()
            .chain(repo.and_then(Result::err))
            .chain(region.and_then(Result::err))
            .chain(subnets.filter_map(Result::err))
            .collect();
        if wrong.is_empty() { Ok(self) } else { Err(wrong) }
    }

    /// The scope, if a flag gives it.
    fn scope(&self) -> Option<String> {
        let org = self.org.as_ref().map(|org| format!("org/{org}"));
        org.or_else(|| self.repo.as_ref().map(|repo| format!("repo/{repo}")))
    }

    /// All answers, if no flag is missing. Err: one sentence that names the missing flags.
    pub fn complete(self) -> Result<Answers, Vec<String>> {
        let scope = self.scope();
        let given = [
            ("--org (or --repo)", scope.is_some()),
            ("--region", self.region.is_some()),
            ("--subnets", !self.subnets.is_empty()),
        ];
        let missing: Vec<&str> = given.iter().filter(|(_, given)| !given).map(|(flag, _)| *flag).collect();
        match (scope, self.region) {
            (Some(scope), Some(region)) if missing.is_empty() => Ok((scope, region, self.subnets)),
            _ => Err(vec![format!(
                "nobody can be asked, because standard input is no terminal, and {} {} missing; for example: muster init --org acme \
                 --region eu-west-1 --subnets subnet-0123456789abcdef0",
                missing.join(", "),
                if missing.len() == 1 { "is" } else { "are" }
            )]),
        }
    }

    /// All answers. Whoever sits at the terminal is asked for those that no flag gives, until each has the right form.
    pub fn asked(self, mut input: impl BufRead, ask: impl Fn(&str), say: impl Fn(&str)) -> Result<Answers, Vec<String>> {
        let mut question = |text: &str, judge: &dyn Fn(&str) -> Result<(), String>| loop {
            ask(text);
            let mut line = String::new();
            match input.read_line(&mut line) {
                Ok(0) | Err(_) => break Err(vec!["the answers ended before all was asked; nothing was written".to_owned()]),
                Ok(_) => match judge(line.trim()) {
                    Ok(()) => break Ok(line.trim().to_owned()),
                    Err(wrong) => say(&wrong),
                },
            }
        };
        let scope = match self.scope() {
            Some(scope) => scope,
            None => {
                let either = |text: &str| if text.contains('/') { repository(text) } else { organisation(text) };
                let name = question("Organisation at GitHub, such as acme; or one repository, such as me/web:", &either)?;
                if name.contains('/') { format!("repo/{name}") } else { format!("org/{name}") }
            }
        };
        let region = match self.region {
            Some(region) => region,
            None => question("AWS region, such as eu-west-1:", &region)?,
        };
        let subnets = if self.subnets.is_empty() {
            let all = |line: &str| {
                let found = listed(line);
                if found.is_empty() { subnet("") } else { found.iter().try_for_each(|one| subnet(one)) }
            };
            listed(&question("Subnets with a way out to AWS and GitHub, such as subnet-0123456789abcdef0 (one or more):", &all)?)
        } else {
            self.subnets
        };
        Ok((scope, region, subnets))
    }
}

fn listed(line: &str) -> Vec<String> {
    line.split([',', ' ']).filter(|one| !one.is_empty()).map(str::to_owned).collect()
}

/// The form of a repository's name with its owner. The owner may be a managed user, whose name has an underscore.
/// <https://docs.github.com/en/enterprise-cloud@latest/admin/managing-iam/iam-configuration-reference/username-considerations-for-external-authentication>
fn repository(text: &str) -> Result<(), String> {
    let of = |part: &str, more: &[u8]| {
        !part.is_empty() && part.len() <= 100 && part.bytes().all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
    };
    match text.split_once('/') {
        Some(("enterprise", name)) => Err(format!(
            "enterprise/{name}: no App can manage an enterprise's runners, so this command does not write such a cluster; see `A token for \
             an enterprise` in docs/getting-started.md"
        )),
        Some((owner, name)) if of(owner, b"-_") && of(name, b"-_.") && !matches!(name, "." | "..") => Ok(()),
        _ => Err(format!("`{text}` is no repository: write OWNER/NAME, as in https://github.com/OWNER/NAME")),
    }
}

/// The form of a region's name: an area, one or two directions, a number.
/// <https://docs.aws.amazon.com/global-infrastructure/latest/regions/aws-regions.html>
fn region(name: &str) -> Result<(), String> {
    let parts: Vec<&str> = name.split('-').collect();
    let word = |part: &&str| part.len() > 1 && part.bytes().all(|b| b.is_ascii_lowercase());
    let number = |part: &str| part.len() == 1 && part.bytes().all(|b| b.is_ascii_digit() && b != b'0');
    if let [areas @ .., last] = &parts[..]
        && (2..=3).contains(&areas.len())
        && areas.iter().all(word)
        && number(last)
    {
        return Ok(());
    }
    Err(format!("`{name}` is no AWS region: write one such as eu-west-1"))
}

/// The form of a subnet's id: 8 or 17 hexadecimal digits.
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/resource-ids.html>
fn subnet(id: &str) -> Result<(), String> {
    let hex = |digits: &str| digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    match id.strip_prefix("subnet-") {
        Some(digits) if [8, 17].contains(&digits.len()) && hex(digits) => Ok(()),
        _ => Err(format!("`{id}` is no subnet's id: write one such as subnet-0123456789abcdef0")),
    }
}

/// Whether the folder is muster's Terraform module.
fn is_module(folder: &Path) -> bool {
    folder.join("bootstrap/linux.sh").is_file() && folder.join("variables.tf").is_file()
}

/// The module in this folder.
pub(super) fn module(folder: &Path) -> Result<PathBuf, String> {
    let wrong = || format!("{} is not the folder terraform/ of a copy of muster's repository; name that", folder.display());
    if !is_module(folder) {
        return Err(wrong());
    }
    folder.canonicalize().map_err(|_| wrong())
}

/// The module of the copy of the repository in which this program runs, or in which it was built.
pub(super) fn found_module() -> Option<PathBuf> {
    let places = [env::current_dir().ok(), env::current_exe().ok()];
    let folders = places.iter().flatten().flat_map(|place| place.ancestors()).map(|folder| folder.join("terraform"));
    folders.into_iter().find(|folder| is_module(folder)).and_then(|folder| folder.canonicalize().ok())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::io::Cursor;

    use super::*;

    #[test]
    fn a_wrong_answer_is_one_sentence() {
        for good in ["acme", "a", "acme-ci", "A1"] {
            assert_eq!(organisation(good), Ok(()), "{good}");
        }
        for bad in ["", "ac me", "-acme", "acme-", "ac--me", "acme/web", "a\"", "acme\n", &"a".repeat(40)] {
            assert!(organisation(bad).is_err_and(|said| said.contains("https://github.com/NAME")), "{bad}");
        }
        for good in ["me/web", "me_corp/web.site_2-x", "Acme/.github"] {
            assert_eq!(repository(good), Ok(()), "{good}");
        }
        for bad in ["me", "me/", "/web", "me/web/x", "me/..", "m e/web", "https://github.com/me/web"] {
            assert!(repository(bad).is_err_and(|said| said.contains("OWNER/NAME")), "{bad}");
        }
        assert!(repository("enterprise/big").is_err_and(|said| said.contains("A token for an enterprise")));
        for good in ["eu-west-1", "us-gov-east-1", "us-isob-east-1", "ap-southeast-5", "mx-central-1"] {
            assert_eq!(region(good), Ok(()), "{good}");
        }
        for bad in ["", "Europe", "eu-west", "eu-west-1a", "eu-west-0", "EU-WEST-1", "eu_west_1", "eu--1", "a-b-1", "eu-west-1\""]
        {
            assert!(region(bad).is_err_and(|said| said.contains("eu-west-1")), "{bad}");
        }
        for good in ["subnet-0a1b2c3d", "subnet-0a1b2c3d4e5f60001"] {
            assert_eq!(subnet(good), Ok(()), "{good}");
        }
        for bad in ["", "subnet-", "subnet-0", "vpc-0a1b2c3d", "subnet-0A1B2C3D", "subnet-0a1b2c3dx", "subnet-0a1b2c3d4e5f6000g"]
        {
            assert!(subnet(bad).is_err_and(|said| said.contains("subnet-0123456789abcdef0")), "{bad}");
        }
    }

    #[test]
    fn missing_flags_are_named_in_one_error() {
        let given = GivenAnswers { region: Some("eu-west-1".into()), ..GivenAnswers::default() };
        let said = given.complete().expect_err("two are missing");
        assert!(said.len() == 1 && said[0].contains("--org (or --repo), --subnets are missing"), "{said:?}");
    }

    #[test]
    fn a_question_is_repeated_until_its_answer_has_the_right_form() {
        let said = RefCell::new(Vec::new());
        let asked = |typed: &'static str, given: GivenAnswers| {
            given.asked(Cursor::new(typed), |_| (), |line| said.borrow_mut().push(line.to_owned()))
        };
        let typed = "ac me\nacme\neu-west-1\nnone\n\nsubnet-0a1b2c3d, subnet-0a1b2c3e\n";
        let (scope, region, subnets) = asked(typed, GivenAnswers::default()).expect("answers");
        assert_eq!((scope.as_str(), region.as_str()), ("org/acme", "eu-west-1"));
        assert_eq!(subnets, ["subnet-0a1b2c3d", "subnet-0a1b2c3e"]);
        assert_eq!(said.borrow().len(), 3, "{said:?}");
        let given = GivenAnswers { repo: Some("me/web".into()), region: Some("eu-west-2".into()), ..GivenAnswers::default() };
        assert_eq!(asked("subnet-0a1b2c3d\n", given).expect("one question").0, "repo/me/web");
        assert_eq!(
            asked("me/\nme/web\neu-west-1\nsubnet-0a1b2c3d\n", GivenAnswers::default()).expect("answers").0,
            "repo/me/web"
        );
        assert!(asked("acme\n", GivenAnswers::default()).is_err_and(|said| said[0].contains("nothing was written")));
    }
}
