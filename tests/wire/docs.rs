//! The documentation: each page has its place in the index, each link leads somewhere, and what a page shows below `$ muster ...` is
//! what the binary prints. They need no AWS, no GitHub, and not the feature `live`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Component, Path, PathBuf};
use std::process::{Child, Command, Stdio};

use muster_reconciler::ids::Scope;
use muster_reconciler::permissions::{Orders, needs};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every page of the repository, by its path from the root.
fn pages() -> BTreeMap<PathBuf, String> {
    fn collect(dir: &Path, deep: bool, found: &mut Vec<PathBuf>) {
        for path in fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())).flatten().map(|entry| entry.path()) {
            if path.is_dir() && deep && !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
                collect(&path, true, found);
            } else if path.extension().is_some_and(|ending| ending == "md") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    collect(root(), false, &mut found);
    for folder in ["docs", "terraform", "tests/fixtures"] {
        collect(&root().join(folder), true, &mut found);
    }
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        (path.strip_prefix(root()).expect("below the root").to_owned(), text)
    };
    found.into_iter().map(read).collect()
}

/// The lines outside of blocks of code.
fn prose(page: &str) -> impl Iterator<Item = &str> {
    page.lines()
        .scan(false, |inside, line| {
            let fence = line.trim_start().starts_with("```");
            *inside ^= fence;
            Some((!*inside && !fence).then_some(line))
        })
        .flatten()
}

/// The targets of links and pictures in a page.
fn targets(page: &str) -> Vec<String> {
    let ends = |rest: &str| rest.split([')', ' ']).next().unwrap_or_default().to_owned();
    // A link may be broken over two lines.
    let text: String = prose(page).map(|line| format!("{line}\n")).collect();
    text.split("](").skip(1).map(ends).collect()
}

/// The anchors that GitHub makes of a page's headings.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let headings = prose(page).filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    headings
        .map(|heading| {
            let kept = heading.to_lowercase().replace(' ', "-");
            let name: String = kept.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect();
            let nth = seen.entry(name.clone()).or_default();
            *nth += 1;
            if *nth == 1 { name } else { format!("{name}-{}", *nth - 1) }
        })
        .collect()
}

/// A path without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut plain, part| {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            other => plain.push(other),
        }
        plain
    })
}

#[test]
fn every_link_leads_somewhere() {
    let pages = pages();
    let (mut links, mut dead) = (0, Vec::new());
    for (path, text) in &pages {
        for target in targets(text).into_iter().filter(|target| !target.contains("://") && !target.starts_with("mailto:")) {
            links += 1;
            let (file, anchor) = target.split_once('#').map_or((target.as_str(), None), |(file, anchor)| (file, Some(anchor)));
            let file = if file.is_empty() { path.clone() } else { plain(&path.parent().unwrap_or(Path::new("")).join(file)) };
            if !root().join(&file).exists() {
                dead.push(format!("{}: {target}: there is no such file", path.display()));
            } else if let (Some(anchor), Some(page)) = (anchor, pages.get(&file))
                && !anchors(page).contains(anchor)
            {
                dead.push(format!("{}: {target}: the page has no such heading", path.display()));
            }
        }
    }
    assert!(links > 200, "only {links} links were found");
    assert!(dead.is_empty(), "{}", dead.join("\n"));
}

/// The App's permissions in a page's tables, one a row: `organization: *Self-hosted runners: read and write*`, for example.
fn permissions_told(page: &str) -> Vec<String> {
    let rows = prose(page).filter_map(|line| line.strip_prefix("| permission "));
    let cells = rows.filter_map(|row| row.split(" | ").nth(1)).map(|cell| cell.trim_end_matches('|').trim());
    let told = cells.filter(|cell| cell.starts_with("organization: *") || cell.starts_with("repository: *"));
    let mut told: Vec<String> = told.map(|cell| cell.split('*').take(2).collect()).collect();
    told.sort();
    told
}

#[test]
fn the_tables_of_the_app_s_permissions_are_the_program_s_list() {
    let scopes: Vec<Scope> = ["org/acme", "repo/acme/app"].map(|scope| scope.parse().expect("a scope")).into();
    let all = [Orders::default(), Orders { runs: true, statuses: true }];
    let needed: BTreeSet<String> =
        all.into_iter().flat_map(|orders| needs(&scopes, orders)).map(|one| one.words.to_owned()).collect();
    // The program's words also say why, after a comma.
    let words = needed.iter().map(|words| words.split(", because").next().unwrap_or_default().replacen(" permission ", ": ", 1));
    let wanted: Vec<String> = words.collect::<BTreeSet<_>>().into_iter().collect();
    assert!(wanted.len() >= 5, "{wanted:?}");
    for page in ["docs/getting-started.md", "docs/by-hand.md"] {
        assert_eq!(permissions_told(&pages()[Path::new(page)]), wanted, "{page}: the rows that begin with `| permission`");
    }
}

#[test]
fn each_page_has_one_place_on_the_path() {
    let pages = pages();
    let index = &pages[Path::new("docs/README.md")];
    let steps: Vec<&str> = index.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert_eq!(steps, ["1. Try", "2. Install", "3. Run", "4. Understand", "5. Extend"]);
    let path = index.split_once("\n## ").expect("steps").1;
    // Only the first cell of a row gives a page its place.
    let rows: Vec<&str> = path.lines().filter(|line| line.starts_with("| [")).collect();
    for page in pages.keys().filter(|page| page.parent() == Some(Path::new("docs")) && !page.ends_with("README.md")) {
        let name = page.file_name().expect("a name").to_string_lossy();
        let places =
            rows.iter().filter(|row| row.split(" | ").next().unwrap_or_default().contains(&format!("]({name})"))).count();
        assert_eq!(places, 1, "docs/README.md: {name} needs exactly one row");
    }
}

/// What a page shows: the command, and the lines below it up to the next command or the end of the block.
fn shown(page: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut open = false;
    for line in page.lines() {
        match line.strip_prefix("$ ") {
            Some(command) => {
                found.push((command.to_owned(), String::new()));
                open = true;
            }
            None if line.trim_start().starts_with("```") => open = false,
            None if open => found.last_mut().expect("a command is open").1 += &format!("{line}\n"),
            None => {}
        }
    }
    found.retain(|(command, lines)| command.starts_with("muster ") && !lines.is_empty());
    found
}

/// What needs a real account, and why it is right nevertheless.
const NOT_RUN: [(&str, &str); 1] = [("muster cost ", "the record of a week is in a bucket; e2e_cost.rs tests the same table")];

/// A demo, for commands that ask a controller.
struct Demo(Child, String);

impl Demo {
    fn start() -> Demo {
        let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
        let mut child =
            command.args(["demo", "--port", "0"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("a demo");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        let page = lines.find_map(|line| line.expect("UTF-8").trim().strip_prefix("live page  ").map(str::to_owned));
        // The demo writes on, and a closed pipe does not end it.
        Demo(child, page.expect("it says where it listens").trim_end_matches('/').to_owned())
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(unix)]
#[test]
fn what_the_docs_show_is_what_the_binary_prints() {
    // A command may write, so it runs beside the repository, with the folders that the pages name.
    let dir = tempfile::tempdir().expect("a directory");
    for folder in ["manifests", "terraform", "tests"] {
        std::os::unix::fs::symlink(root().join(folder), dir.path().join(folder)).expect("a link");
    }
    let demo = Demo::start();
    let (mut compared, mut wrong) = (0, Vec::new());
    for (path, mut text) in pages() {
        for (line, lines) in shown(&text).into_iter().filter(|(line, _)| !NOT_RUN.iter().any(|(not, _)| line.starts_with(not))) {
            compared += 1;
            let mut command = Command::new("sh");
            command.args(["-c", &format!("{line} 2>&1")]).current_dir(dir.path()).stdin(Stdio::null());
            let program = Path::new(env!("CARGO_BIN_EXE_muster")).parent().expect("a folder").display().to_string();
            command.env("PATH", format!("{program}:{}", std::env::var("PATH").unwrap_or_default()));
            let output = command.env("MUSTER_CONTROLLER", &demo.1).env("NO_COLOR", "1").output().expect("a shell");
            let printed = String::from_utf8_lossy(&output.stdout).into_owned();
            if lines != printed {
                text = text.replacen(&format!("$ {line}\n{lines}"), &format!("$ {line}\n{printed}"), 1);
                wrong.push(format!("{}: `{line}` prints this now:\n{printed}", path.display()));
            }
        }
        if std::env::var_os("MUSTER_WRITE_DOCS").is_some() {
            fs::write(root().join(&path), text).expect("the page");
        }
    }
    assert!(compared >= 7, "only {compared} outputs were found");
    assert!(wrong.is_empty(), "{}\nMUSTER_WRITE_DOCS=1 writes it into the pages; read them then", wrong.join("\n"));
}

/// The words of a picture, in which each line is one text.
fn drawn(picture: &str) -> String {
    let texts = picture.split("</text>").filter_map(|part| part.rsplit_once('>')).map(|(_, text)| text.replace("&#160;", " "));
    texts.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_pictures_have_the_form_that_the_commands_have_today() {
    let demo = Demo::start();
    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
        let output = command.args(args).env("MUSTER_CONTROLLER", &demo.1).output().expect("the binary runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let jobs = loop {
        let jobs: Vec<String> = run(&["get", "jobs", "-o", "name"]).lines().map(str::to_owned).collect();
        if jobs.len() >= 5 {
            break jobs;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    };
    let words = |text: &str, is_head: &dyn Fn(&str) -> bool| -> BTreeSet<String> {
        text.lines().filter(|line| is_head(line)).flat_map(str::split_whitespace).map(str::to_owned).collect()
    };
    let read = |picture: &str| drawn(&fs::read_to_string(root().join(picture)).expect("a picture"));
    // The heads of the tables, and of the parts of an explanation. How many there are depends on the width and on the moment.
    let columns = |line: &str| line.contains("WHY") && line == line.to_uppercase();
    let parts =
        |line: &str| line.starts_with(|c: char| c.is_ascii_lowercase()) && !line.contains(':') && !line.starts_with("muster ");
    let explained: String = jobs.iter().take(20).map(|job| run(&["explain", job])).collect();
    for (picture, today, is_head) in
        [("docs/top.svg", run(&["top", "--once"]), &columns as &dyn Fn(&str) -> bool), ("docs/explain.svg", explained, &parts)]
    {
        let (shown, today) = (words(&read(picture), is_head), words(&today, is_head));
        let gone: Vec<&String> = shown.difference(&today).collect();
        assert!(shown.len() > 2 && gone.is_empty(), "{picture}: {gone:?} of {shown:?} is gone; `make screenshot` makes it anew");
    }
}

/// The heads of the live page and of its tables, without what stands behind a colon. What needs attention depends on the moment.
fn heads(page: &str) -> BTreeSet<String> {
    let inner = |open: &'static str, close: &'static str| {
        let opened = page.split(open).skip(1).filter(|part| !part.starts_with(" id=\"h-attention\""));
        opened.filter_map(move |part| part.split_once('>')?.1.split_once(close)).map(|(inner, _)| inner)
    };
    let without_tags = |inner: &str| inner.split('<').map(|part| part.rsplit('>').next().unwrap_or(part)).collect::<String>();
    let words = inner("<h2", "</h2>").chain(inner("<th scope=\"col\"", "</th>")).map(without_tags);
    words.map(|text| text.split(':').next().unwrap_or_default().trim().to_owned()).filter(|text| !text.is_empty()).collect()
}

/// The colours and the sizes of the page may be others than in the picture; what it shows may not.
#[tokio::test]
async fn the_picture_of_the_live_page_has_the_heads_of_today() {
    let picture = fs::read(root().join("docs/live-page.png")).expect("a picture");
    let word = b"tEXtDescription\0";
    let at =
        picture.windows(word.len()).position(|bytes| bytes == word).expect("`make screenshot` writes the heads into the picture");
    let length: [u8; 4] = picture[at - 4..at].try_into().expect("four bytes");
    let text = &picture[at + word.len()..at + 4 + u32::from_be_bytes(length) as usize];
    let shown: BTreeSet<String> =
        text.split(|byte| *byte == b'\n').map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    let demo = Demo::start();
    let mut differs = String::new();
    // Some parts come once there is something to show.
    for _ in 0..1500 {
        let page = reqwest::get(&demo.1).await.expect("an answer").text().await.expect("a page");
        let today = heads(&page);
        if shown.len() > 10 && shown == today {
            return;
        }
        differs = format!("{:?}", shown.symmetric_difference(&today).collect::<Vec<_>>());
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    panic!("only the picture or only today's page has {differs}; `make screenshot` makes the picture anew");
}

#[test]
fn pages_are_read_as_github_reads_them() {
    let page =
        "# A `b` c\n## D, e\n## D, e\n```\n# no\n$ muster a\nb\n$ muster b\n```\n[x](y.md#z) ![p](p.png)\n```sh\nmuster c\n```\n";
    assert_eq!(anchors(page), ["a-b-c", "d-e", "d-e-1"].map(str::to_owned).into());
    assert_eq!(targets(page), ["y.md#z", "p.png"]);
    assert_eq!(shown(page), [("muster a".to_owned(), "b\n".to_owned())]);
}
