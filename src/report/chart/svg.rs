//! SVG elements, texts and numbers.

use crate::text as words;
use crate::text::scale::round_step;

/// The width of all charts in units: that of a small phone's column, so that text of 12 units is
/// hardly ever smaller on a screen.
pub const WIDTH: f64 = 360.0;

/// The approximate width of a character of 12 units.
const CHARACTER: f64 = 7.0;

/// Returns a text element; `class` styles it, `anchor` is `start`, `middle` or `end`.
pub fn text(class: &str, x: f64, y: f64, anchor: &str, text: &str) -> String {
    format!(
        r#"<text class="{class}" x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{}</text>"#,
        escape(text)
    )
}

/// Returns a rectangle with a tooltip.
pub fn rect(class: &str, x: f64, y: f64, width: f64, height: f64, title: &str) -> String {
    format!(
        r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{:.1}" height="{:.1}"><title>{}</title></rect>"#,
        width.max(0.0),
        height.max(0.0),
        escape(title)
    )
}

/// Returns `drawn` as what leads to a filter of the page, of which the page makes a link; as it is
/// without one. A file has nowhere to lead to.
pub fn leading(to: Option<&String>, says: &str, drawn: &str) -> String {
    match to.filter(|to| !to.is_empty()) {
        None => drawn.to_owned(),
        Some(to) => format!(
            r#"<g data-to="{}" data-says="{}">{drawn}</g>"#,
            escape(to),
            escape(says)
        ),
    }
}

/// Returns a straight line.
pub fn line(class: &str, from: (f64, f64), to: (f64, f64)) -> String {
    format!(
        r#"<line class="{class}" x1="{:.1}" y1="{:.1}" x2="{:.1}" y2="{:.1}"/>"#,
        from.0, from.1, to.0, to.1
    )
}

/// Returns horizontal grid lines with numbers at their left, from zero to `most` or a little above.
pub fn scale(most: f64, across: (f64, f64), down: (f64, f64), label: impl Fn(f64) -> String) -> String {
    let (left, right) = across;
    let (top, bottom) = down;
    let step = scale_step(most);
    let highest = (most / step).ceil();
    let mut lines = String::new();
    for at in 0..=highest as u32 {
        let y = bottom - f64::from(at) / highest * (bottom - top);
        lines.push_str(&line("grid", (left, y), (right, y)));
        lines.push_str(&text(
            "value",
            left - 5.0,
            y + 4.0,
            "end",
            &label(f64::from(at) * step),
        ));
    }
    lines
}

/// Estimates the width of a text of 12 units.
pub fn width(text: &str) -> f64 {
    text.chars().map(columns).sum::<usize>() as f64 * CHARACTER
}

/// Cuts the text to a width, with `…` for the rest. Line breaks become spaces; characters without
/// width go.
pub fn fit(text: &str, width: f64) -> String {
    short(text, (width / CHARACTER).max(1.0) as usize)
}

/// Cuts the text to so many columns on one line, with `…` for the rest.
pub fn short(text: &str, most: usize) -> String {
    let line: Vec<char> = text
        .chars()
        .map(|c| if c.is_whitespace() { ' ' } else { c })
        .filter(|&c| !is_hidden(c))
        .collect();
    if line.iter().copied().map(columns).sum::<usize>() <= most {
        return line.into_iter().collect();
    }
    let mut taken = 0;
    let mut cut: String = line
        .into_iter()
        .take_while(|&c| {
            taken += columns(c);
            taken < most
        })
        .collect();
    cut.push('…');
    cut
}

/// Returns the columns of a character: scripts of East Asia and emoji take two.
fn columns(character: char) -> usize {
    1 + usize::from(
        matches!(u32::from(character), 0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff | 0xfe30..=0xfe6f | 0xff00..=0xff60 | 0x1f000..=0x3ffff),
    )
}

/// Whether a character changes the direction of text, or has no width.
fn is_hidden(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{61c}')
        || character.is_control()
}

/// Escapes the text for HTML and XML. Control characters, which XML forbids, and marks that change
/// the direction of text are dropped.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(character),
            '\u{fffe}' | '\u{ffff}' => {}
            character if is_hidden(character) => {}
            character => escaped.push(character),
        }
    }
    escaped
}

/// Formats a number as `1,234,567`.
pub fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if number < 0 { format!("-{text}") } else { text }
}

/// A number formatted with groups of three digits.
#[derive(PartialEq)]
struct Grouped(i64);

impl std::fmt::Display for Grouped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&grouped(self.0))
    }
}

impl From<u8> for Grouped {
    fn from(number: u8) -> Grouped {
        Grouped(number.into())
    }
}

/// Formats `1 task`, `1,234 tasks`.
pub fn counted(number: i64, one: &str) -> String {
    words::counted(Grouped(number), one)
}

/// Formats `1 was rejected`, `1,234 were rejected`.
pub fn chosen(number: i64, one: &str, several: &str) -> String {
    words::chosen(Grouped(number), one, several)
}

/// Formats `999`, `1.2k`, `35k`, `1.2M`, where room is scarce.
pub fn rounded(number: i64) -> String {
    let of = |unit: f64, name: &str| {
        let value = number as f64 / unit;
        if value < 9.95 {
            format!("{value:.1}{name}").replace(".0", "")
        } else {
            format!("{value:.0}{name}")
        }
    };
    match number {
        ..1_000 => number.to_string(),
        1_000..999_500 => of(1e3, "k"),
        999_500..999_500_000 => of(1e6, "M"),
        _ => of(1e9, "G"),
    }
}

/// Returns the distance of grid lines: the smallest of 1, 2, 5, 10, 20, … that is at least a
/// quarter of `most`.
pub fn scale_step(most: f64) -> f64 {
    round_step((most / 4.0).max(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_model_wrote_is_inert() {
        assert_eq!(escape("<script>\"'&\0\u{202e}"), "&lt;script&gt;&quot;&#39;&amp;");
        assert_eq!(short("a\nb\u{202e}c", 9), "a bc");
        assert_eq!(short("列出三种动物", 6), "列出…");
    }

    #[test]
    fn numbers() {
        let texts = [
            0,
            999,
            1_000,
            1_234,
            12_345,
            999_499,
            999_500,
            1_250_000,
            3_000_000_000,
        ]
        .map(rounded);
        assert_eq!(
            texts,
            ["0", "999", "1k", "1.2k", "12k", "999k", "1M", "1.2M", "3G"]
        );
        assert_eq!(
            [0, 12, 123, 1_234, -1_234_567].map(grouped),
            ["0", "12", "123", "1,234", "-1,234,567"]
        );
        assert_eq!(
            [1.0, 7.0, 8.0, 35.0, 1000.0].map(scale_step),
            [1.0, 2.0, 2.0, 10.0, 500.0]
        );
    }
}
