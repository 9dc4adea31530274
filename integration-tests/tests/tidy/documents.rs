//! Documents that must not go stale: links, `make` words, budgets, and paths of one developer's machine.

use std::collections::BTreeSet;

/// Folders of the machine on which Skiff is written; they mean nothing on any other. Pieced together, so that this file
/// does not name them.
const MACHINE_PATHS: [&str; 3] = [concat!("/work", "/main"), concat!("/work", "/shared"), concat!("/work", "/wt")];

pub(crate) fn check_machine_paths(path: &str, text: &str) -> Vec<String> {
    // Wherever this checkout lies, no file of it may know.
    let checkout = env!("CARGO_MANIFEST_DIR").trim_end_matches("integration-tests");
    let named = |line: &str| line.contains(checkout) || MACHINE_PATHS.iter().any(|folder| line.contains(folder));
    let found = text.lines().enumerate().filter(|(_, line)| named(line));
    found.map(|(number, line)| format!("{path}:{}: {}", number + 1, line.trim())).collect()
}

/// Relative links of Markdown whose target does not exist. `exists` takes a path from the top of the project.
pub(crate) fn check_links(path: &str, text: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let local = targets.filter(|target| !target.contains(':') && !target.starts_with('#'));
    local
        .map(|target| target.split('#').next().unwrap_or(target))
        .filter(|target| !exists(format!("{folder}/{target}").trim_start_matches('/')))
        .map(|target| format!("{path}: links to `{target}`, which does not exist"))
        .collect()
}

/// The targets of a Makefile.
pub(crate) fn make_targets(makefile: &str) -> BTreeSet<String> {
    let rules = makefile.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_lowercase()));
    rules.filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim().to_owned()).collect()
}

/// Words in backticks such as `make test` whose target does not exist.
pub(crate) fn check_make_words(path: &str, text: &str, targets: &BTreeSet<String>) -> Vec<String> {
    let quoted = text.split('`').skip(1).step_by(2).filter_map(|code| code.strip_prefix("make "));
    let words = quoted.filter_map(|rest| rest.split_whitespace().next());
    let missing = words.filter(|word| !targets.contains(*word));
    missing.map(|word| format!("{path}: names `make {word}`, which the Makefile has not got")).collect()
}

/// README.md's table of what is tested where, against the lanes that there are.
pub(crate) fn check_lanes(text: &str, lanes: &[&str]) -> Vec<String> {
    let section = text.split("## Where it is tested").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap_or("");
    let (table, words): (Vec<_>, Vec<_>) = section.lines().partition(|line| line.starts_with("| "));
    let in_table = table.iter().filter_map(|line| line.trim_end_matches(" |").rsplit("| ").next());
    let named: BTreeSet<&str> = in_table.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    let words = words.concat();
    let missing = lanes.iter().filter(|lane| !named.contains(*lane) && !words.contains(&format!("`{lane}`")));
    let missing = missing.map(|lane| format!("README.md: no row for the lane `{lane}`"));
    let stale = named.iter().filter(|name| !lanes.contains(name)).map(|name| format!("README.md: `{name}` is no lane"));
    missing.chain(stale).collect()
}

/// The rows between the marks of SPECIFICATION.md: `| id | figure | budget | shown by |`, budget being `<= number unit`.
pub(crate) fn check_budgets(text: &str) -> Vec<String> {
    let mut complaints: Vec<String> = ["bench:begin", "bench:end"]
        .iter()
        .filter(|mark| !text.contains(&format!("<!-- {mark} -->")))
        .map(|mark| format!("has no `{mark}` mark"))
        .collect();
    let inside =
        text.split_once("<!-- budgets:begin -->").and_then(|(_, rest)| rest.split_once("<!-- budgets:end -->"));
    let Some((table, _)) = inside else {
        complaints.push("has no table between `budgets:begin` and `budgets:end`".to_owned());
        return complaints;
    };
    let rows: Vec<_> = table.lines().filter(|line| line.starts_with('|')).skip(2).collect();
    if rows.is_empty() {
        complaints.push("has no budgets".to_owned());
    }
    let mut ids = BTreeSet::new();
    for row in rows {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [id, _, budget, proof] = cells[..] else {
            complaints.push(format!("this row has not four cells: {row}"));
            continue;
        };
        if !ids.insert(id) {
            complaints.push(format!("`{id}` stands twice"));
        }
        if budget_number(budget).is_none() || proof.is_empty() {
            complaints.push(format!("`{id}`: a budget reads `<= 1.5 unit`, followed by what shows it"));
        }
    }
    complaints
}

fn budget_number(budget: &str) -> Option<f64> {
    budget.strip_prefix("<= ")?.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_paths() {
        assert_eq!(check_machine_paths("a", &format!("cd {}/x", MACHINE_PATHS[0])).len(), 1);
        assert_eq!(check_machine_paths("a", env!("CARGO_MANIFEST_DIR")).len(), 1);
        assert!(check_machine_paths("a", "echo ran >/work/proof").is_empty());
    }

    #[test]
    fn links_and_make_words() {
        let links = |text: &str| check_links("docs/A.md", text, |path| path == "docs/B.md").len();
        assert_eq!(links("[b](B.md) [b](B.md#part) [w](https://example.org/x) [here](#below)"), 0);
        assert_eq!(links("[c](C.md)"), 1);
        let targets = make_targets("test: lint ## all\n\tcargo test\n.PHONY: test\nX = 1\n");
        assert_eq!(targets.iter().collect::<Vec<_>>(), ["test"]);
        assert_eq!(check_make_words("a", "`make test` and `make tea`", &targets).len(), 1);
    }

    #[test]
    fn budgets() {
        let document = |rows: &str| {
            format!(
                "<!-- bench:begin --><!-- bench:end -->\n<!-- budgets:begin -->\n| id | a | b | c |\n|---|---|---|---|\n\
                 {rows}<!-- budgets:end -->"
            )
        };
        let good = "| run | run of true | <= 1.00 crun | `make bench` |\n";
        assert_eq!(check_budgets(&document(good)), Vec::<String>::new());
        assert_eq!(check_budgets(&document(&good.repeat(2))).len(), 1);
        assert_eq!(check_budgets(&document(&good.replace("<= 1.00", "fast"))).len(), 1);
        assert_eq!(check_budgets(&document("| a | b |\n")).len(), 1);
        assert_eq!(check_budgets(&document("")).len(), 1);
        assert_eq!(check_budgets("").len(), 3);
    }

    #[test]
    fn the_table_of_lanes_is_held_to_them() {
        let text =
            "## Where it is tested\n| kernel | lane |\n|---|---|\n| a `b` | `one`, `two` |\n`three` too.\n## Next\n";
        assert!(check_lanes(text, &["one", "two", "three"]).is_empty());
        assert_eq!(check_lanes(text, &["one", "three", "four"]).len(), 2);
        assert_eq!(check_lanes("", &["one"]).len(), 1);
    }
}
