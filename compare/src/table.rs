//! Tables for people.

/// Lines with columns as wide as their widest cell, each line indented by `indent` spaces.
#[must_use]
pub fn table(head: &[&str], rows: &[Vec<String>], indent: usize) -> String {
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let all: Vec<&Vec<String>> = std::iter::once(&head).chain(rows).collect();
    let width = |column: usize| {
        let cells = all.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let mut out = String::new();
    for row in &all {
        let mut line = " ".repeat(indent);
        for (column, cell) in row.iter().enumerate() {
            line.push_str(&format!("{cell:0$}  ", width(column)));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn columns_stand_below_each_other() {
        let rows = [
            vec!["a".to_owned(), "1".to_owned()],
            vec!["längst".to_owned(), String::new()],
        ];
        assert_eq!(
            super::table(&["NAME", "N"], &rows, 2),
            "  NAME    N\n  a       1\n  längst\n"
        );
    }
}
