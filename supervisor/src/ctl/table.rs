//! Columns as wide as their widest cell. Pure.

use super::words;

/// Two blanks between columns, no frame, and none at the ends of lines. Cells are made [`words::plain`].
pub(super) fn table<const COLUMNS: usize>(head: [&str; COLUMNS], rows: &[[String; COLUMNS]]) -> String {
    let rows = rows.iter().map(|row| row.each_ref().map(|cell| words::plain(cell).into_owned()));
    let rows: Vec<_> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    let line = |row: &[String; COLUMNS]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other() {
        let row = |a: &str, b: &str, c: &str| [a.to_owned(), b.to_owned(), c.to_owned()];
        let rows = [row("web-0", "é", ""), row("a", "running", "\u{1b}[2J\n")];
        let shown = table(["NAME", "STATE", "PID"], &rows);
        assert_eq!(shown, "NAME   STATE    PID\nweb-0  é\na      running  \\u{1b}[2J\\n\n");
    }
}
