//! The temporary workflow: one job that sleeps for 20 s, and prints nothing that is secret.

/// The name of the workflow. The test knows the workflow's jobs by this name.
pub const NAME: &str = "muster field test";
/// The name of the workflow's file, if `--workflow` names no other.
pub const FILE: &str = "muster-field-test.yaml";

/// The text of the workflow, whose job has the labels of a pool.
pub fn text(labels: &[String]) -> String {
    let quoted: Vec<String> = labels.iter().map(|label| format!("'{}'", label.replace('\'', "''"))).collect();
    format!(
        "# For `muster doctor --live`. Delete this file when the field test is over.\n\
         name: {NAME}\n\
         on: workflow_dispatch\n\
         permissions: {{}}\n\
         jobs:\n  \
           look-around:\n    \
             runs-on: [{}]\n    \
             timeout-minutes: 10\n    \
             steps:\n      \
               - run: sleep 20\n",
        quoted.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use muster_reconciler::manifest::Text;
    use saphyr::{LoadableYamlNode as _, Yaml};

    use super::*;

    #[test]
    fn the_workflow_is_yaml_and_asks_for_the_pools_labels() {
        let labels = ["self-hosted", "linux", "it's: odd"].map(str::to_owned);
        let text = Text { file: FILE.into(), body: text(&labels) };
        let read = Yaml::load_from_str(&text.body).expect("YAML");
        let job = &read[0]["jobs"]["look-around"];
        let asked: Vec<&str> = job["runs-on"].as_sequence().expect("a list").iter().filter_map(Yaml::as_str).collect();
        assert_eq!(asked, labels.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(read[0]["name"].as_str(), Some(NAME));
        assert_eq!(read[0]["on"].as_str(), Some("workflow_dispatch"));
        assert_eq!(job["steps"][0]["run"].as_str(), Some("sleep 20"));
    }
}
