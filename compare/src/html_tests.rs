use super::page;
use crate::report::tests::sample;

#[test]
fn the_page_loads_nothing_and_what_is_in_it_is_text() {
    let page = page(&sample());
    for foreign in [
        "src=", "href=", "url(", "@import", "<script", "<link", "<img", "<iframe",
    ] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    assert!(page.contains("?&lt;script&gt;"));
    assert!(page.contains("default-src 'none'"));
}

#[test]
fn the_page_has_each_plot_and_closes_what_it_opens() {
    let page = page(&sample());
    // Three for each of two steps, one over steps, and the errors.
    assert_eq!(page.matches("<svg").count(), 8);
    for element in [
        "svg", "div", "section", "table", "tr", "td", "th", "p", "span", "h2", "h3", "text",
    ] {
        let opened = page.matches(&format!("<{element} ")).count()
            + page.matches(&format!("<{element}>")).count();
        assert_eq!(
            opened,
            page.matches(&format!("</{element}>")).count(),
            "{element}"
        );
    }
    assert!(!page.contains("NaN") && !page.contains("inf"));
    assert!(page.contains("2027-01-15 08:00 UTC"), "the date");
}

#[test]
fn the_style_serves_dark_and_light_and_small_screens() {
    let page = page(&sample());
    assert!(page.contains("prefers-color-scheme: dark"));
    assert!(page.contains("width=device-width"));
}
