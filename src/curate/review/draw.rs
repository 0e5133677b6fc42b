//! Draws the screen: the task on the left, what it resembles on the right, or below one another on
//! a narrow terminal.

use ratatui::{
    Frame,
    buffer::Buffer,
    layout::{Constraint, Layout, Rect},
    style::{Modifier, Style},
    text::{Line, Span, Text},
    widgets::{Block, Borders, Clear, Paragraph, Widget, Wrap},
};

use super::{
    keys::{ALWAYS, IF_ROOM, KEYS},
    label,
    session::{Mode, ReviewSession, SidePanel},
    team::{self, line},
};
use crate::text::{clean, counted};
use crate::{
    curate::{
        view::{FieldView, TaskView},
        word_diff::{DiffPart, compare},
    },
    interchange::turns,
    store::{
        instance::StoredInstance,
        query::figures::{InfluenceOn, InstanceFigures},
        query::list::Sort,
    },
};

/// From this width on two texts are side by side.
const SIDE_BY_SIDE: u16 = 90;

/// From this height on two texts are one below the other; a smaller terminal shows one of them.
const ONE_BELOW_OTHER: u16 = 16;

/// How far below the screen is looked for more.
const BELOW: u16 = 60;

/// How many characters of a text are laid out; more take longer than people wait after a key.
const SHOWN: usize = 20_000;

/// Draws the screen.
pub fn draw(frame: &mut Frame, session: &ReviewSession<'_>) {
    let [head, body, foot, hints] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(3),
        Constraint::Length(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(title(session)).style(reversed()), head);
    frame.render_widget(
        Paragraph::new(shown_keys(&session.mode, hints.width)).style(dim()),
        hints,
    );
    let (left, right) = columns(body);
    let is_small = body.width < SIDE_BY_SIDE && body.height < ONE_BELOW_OTHER;
    session.is_small.set(is_small);
    session.has_more.set(false);
    match (&session.mode, session.mine(), &session.now) {
        (Mode::Conflict, Some(mine), Some(now)) => {
            let title = match session.has_refused() {
                true => "yours, not saved",
                false => "as you saw it",
            };
            let title = format!(" {title} · {} ", mine.task.review);
            let more = panel(frame, left, &title, task(&mine, Some(now)), session.scroll);
            let more_there = panel(
                frame,
                right,
                &format!(" as it is now · {} ", now.task.review),
                task(now, Some(&mine)),
                session.scroll,
            );
            session.has_more.set(more || more_there);
        }
        _ => match &session.task {
            Some(view) => {
                let (title, text) = beside(session, view);
                let whole = matches!(session.beside, SidePanel::Nothing) || is_small && !session.is_asked;
                // Where there is room for one text only, what was asked for goes first.
                let more = match (is_small, whole) {
                    (true, false) => panel(frame, body, &title, text, session.scroll),
                    _ => {
                        if !whole {
                            panel(frame, right, &title, text, 0);
                        }
                        let place = if whole { body } else { left };
                        panel(frame, place, &heading(view), task(view, None), session.scroll)
                    }
                };
                session.has_more.set(more);
            }
            None => {
                panel(frame, body, " no task ", Text::default(), 0);
            }
        },
    }
    frame.render_widget(Paragraph::new(status(session)), foot);
    if session.mode == Mode::Help {
        session.has_more.set(help(frame, session.scroll));
    }
}

/// The keys that stay at the bottom, as many as fit.
fn shown_keys(mode: &Mode, width: u16) -> String {
    if matches!(
        mode,
        Mode::Reason(_) | Mode::Unsure(_) | Mode::Comment(_) | Mode::Search(_)
    ) {
        return " enter goes on · esc leaves it as it was".to_owned();
    }
    let line = |more: &[&str]| {
        let [accept, reject, keys, leave] = ALWAYS;
        let all = [&[accept, reject], more, &[keys, leave]].concat();
        format!(" {}", all.join(" · "))
    };
    (0..=IF_ROOM.len())
        .rev()
        .map(|count| line(&IF_ROOM[..count]))
        .find(|line| line.chars().count() <= usize::from(width))
        .unwrap_or_else(|| line(&[]))
}

fn columns(area: Rect) -> (Rect, Rect) {
    let halves = [Constraint::Percentage(55), Constraint::Percentage(45)];
    let [one, other] = if area.width >= SIDE_BY_SIDE {
        Layout::horizontal(halves).areas(area)
    } else {
        Layout::vertical(halves).areas(area)
    };
    (one, other)
}

fn reversed() -> Style {
    Style::new().add_modifier(Modifier::REVERSED)
}

fn dim() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}

fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

fn title(session: &ReviewSession<'_>) -> String {
    let queue = session
        .filter
        .review
        .map_or("any review".to_owned(), |review| review.to_string());
    let words = session
        .filter
        .text
        .as_deref()
        .map_or(String::new(), |words| format!(" · “{}”", line(words)));
    let order = match session.sort {
        Sort::Field(_) => "a field".to_owned(),
        sort => format!("{sort:?}").to_lowercase(),
    };
    let who = match session.is_reviewer {
        true => format!("{} · ", line(session.who)),
        false => String::new(),
    };
    format!(
        " ewe review · {who}{queue} · {} in the queue · by {order}{words}",
        session.waiting()
    )
}

fn status(session: &ReviewSession<'_>) -> String {
    match &session.mode {
        Mode::Reason(text) => format!("reason (may be empty): {}▏", line(text)),
        Mode::Unsure(text) => format!("why you are unsure (may be empty): {}▏", line(text)),
        Mode::Comment(text) => format!("comment: {}▏", line(text)),
        Mode::Search(text) => format!("words: {}▏", line(text)),
        Mode::Fields => line(&label::offer(fields(session))),
        Mode::Value(place, text) => fields(session)
            .get(*place)
            .map_or(String::new(), |view| line(&label::prompt(view, text))),
        Mode::Conflict if session.has_refused() => {
            "changed meanwhile, nothing was saved: enter keeps what is there now, o saves yours over it"
                .to_owned()
        }
        Mode::Conflict => "changed meanwhile, nothing was decided: enter shows it as it is now".to_owned(),
        Mode::Queue | Mode::Help => line(&session.message),
    }
}

/// The fields of the present task.
fn fields<'a>(session: &'a ReviewSession<'_>) -> &'a [FieldView] {
    session.task.as_ref().map_or(&[], |view| &view.fields)
}

fn heading(view: &TaskView) -> String {
    let task = &view.task;
    let mut heading = format!(" task {} · {} · {}", task.id, task.origin, task.review);
    if task.is_classification {
        heading.push_str(" · classification");
    }
    if let Some(name) = &task.name {
        heading.push_str(&format!(" · {}", line(name)));
    }
    heading.push(' ');
    heading
}

/// Draws a text in a frame. Returns whether there is more below, which the frame says.
fn panel(frame: &mut Frame, area: Rect, title: &str, text: Text<'static>, scroll: u16) -> bool {
    let paragraph = Paragraph::new(text)
        .wrap(Wrap { trim: false })
        .scroll((scroll, 0));
    let mut block = Block::new().borders(Borders::ALL).title(title.to_owned());
    let inner = block.inner(area);
    let more = is_more(&paragraph, inner);
    if more {
        block = block.title_bottom(" more below: ↓ ");
    }
    frame.render_widget(block, area);
    frame.render_widget(paragraph, inner);
    more
}

/// Whether a text goes on below `area`: it is drawn on a higher screen, as wrapped lines are not
/// counted otherwise.
fn is_more(paragraph: &Paragraph<'_>, area: Rect) -> bool {
    let higher = Rect::new(0, 0, area.width, area.height.saturating_add(BELOW));
    let mut screen = Buffer::empty(higher);
    paragraph.render(higher, &mut screen);
    let below = usize::from(area.height) * usize::from(area.width);
    screen
        .content()
        .iter()
        .skip(below)
        .any(|cell| !cell.symbol().trim().is_empty())
}

/// Lays out a task's texts. Words that differ from those of `other` are marked.
fn task(view: &TaskView, other: Option<&TaskView>) -> Text<'static> {
    let mut lines = Vec::new();
    let labels = view.fields.iter().filter(|view| !view.shown.is_empty());
    let labels: Vec<String> = labels
        .map(|view| format!("{}: {}", line(&view.field.name), line(&view.shown)))
        .collect();
    if !labels.is_empty() {
        lines.push(Line::from(labels.join(" · ")));
        lines.push(Line::default());
    }
    lines.extend(team::beside(view));
    text(
        &mut lines,
        "instruction",
        &view.task.instruction,
        other.map(|other| other.task.instruction.as_str()),
    );
    let others = other.map(|other| other.instances.as_slice());
    instances(&mut lines, &view.instances, others);
    for judgment in view.judgments.iter().filter(|judgment| judgment.holds) {
        let score = judgment
            .score
            .map_or("no score".to_owned(), |score| format!("score {score}"));
        let heading = format!("{score} by {}", line(&judgment.model));
        text(
            &mut lines,
            &heading,
            judgment.problem.as_ref().unwrap_or(&judgment.reason),
            None,
        );
    }
    for figures in &view.figures {
        effect(&mut lines, figures, view.instances.len());
    }
    if !view.influenced_by.is_empty() {
        lines.push(Line::styled("influenced by", bold()));
        influence(&mut lines, &view.influenced_by, "by");
    }
    if let (None, Some(last)) = (other, view.history.last()) {
        let note = last
            .note
            .as_deref()
            .map_or(String::new(), |note| format!(": {}", line(note)));
        lines.push(Line::from(format!(
            "last {} by {}{note}",
            last.action,
            line(&last.who)
        )));
    }
    Text::from(lines)
}

/// Adds what an instance did to the held-out loss, and how difficult it is.
fn effect(lines: &mut Vec<Line<'static>>, figures: &InstanceFigures, instances: usize) {
    let mut parts = Vec::new();
    parts.extend(figures.influence.map(|value| format!("influence {value:+.3}")));
    parts.extend(figures.ifd.map(|value| format!("IFD {value:.2}")));
    if instances > 1 {
        parts.push(format!("instance {}", figures.ordinal));
    }
    lines.push(Line::styled(parts.join(" · "), bold()));
    influence(lines, &figures.on, "on");
}

/// Adds tasks with an influence on this one, or of this one.
fn influence(lines: &mut Vec<Line<'static>>, all: &[InfluenceOn], which: &str) {
    for on in all {
        let how = if on.value < 0.0 { "hurt" } else { "helped" };
        lines.push(Line::from(format!(
            "{how} {:+.3} {which} task {}: {}",
            on.value,
            on.task_id,
            line(&on.instruction)
        )));
    }
    lines.push(Line::default());
}

fn instances(lines: &mut Vec<Line<'static>>, all: &[StoredInstance], others: Option<&[StoredInstance]>) {
    for instance in all {
        let other = others.and_then(|others| others.iter().find(|other| other.ordinal == instance.ordinal));
        let number = match all.len() {
            1 => String::new(),
            _ => format!(" {}", instance.ordinal),
        };
        // An input that only one of the two has is shown in both.
        if !instance.input.is_empty() || other.is_some_and(|other| !other.input.is_empty()) {
            text(
                lines,
                &format!("input{number}"),
                &instance.input,
                other.map(|other| other.input.as_str()),
            );
        }
        text(
            lines,
            &format!("output{number}"),
            &instance.output,
            other.map(|other| other.output.as_str()),
        );
        let others = other.map(|other| turns::of_column(other.turns.as_deref()));
        for (place, turn) in turns::of_column(instance.turns.as_deref()).iter().enumerate() {
            let heading = format!("{}{number}, turn {place}", turn.role);
            let other = others
                .as_ref()
                .map(|others| others.get(place).map_or("", |other| other.content.as_str()));
            text(lines, &heading, &turn.content, other);
            for (name, value) in &turn.fields {
                text(lines, name, value, None);
            }
        }
    }
}

/// Adds a heading and a text below it.
fn text(lines: &mut Vec<Line<'static>>, heading: &str, text: &str, other: Option<&str>) {
    lines.push(Line::styled(heading.to_owned(), bold()));
    let shown = match text.char_indices().nth(SHOWN) {
        Some((end, _)) => &text[..end],
        None => text,
    };
    let parts = match other {
        Some(other) => compare(shown, other),
        None => vec![DiffPart {
            text: shown,
            common: true,
        }],
    };
    let mut spans: Vec<Span<'static>> = Vec::new();
    for part in parts {
        let style = match part.common {
            true => Style::new(),
            false => Style::new().add_modifier(Modifier::UNDERLINED | Modifier::BOLD),
        };
        for (nth, line) in clean(part.text).replace('\t', "    ").split('\n').enumerate() {
            if nth > 0 {
                lines.push(Line::from(std::mem::take(&mut spans)));
            }
            if !line.is_empty() {
                spans.push(Span::styled(line.to_owned(), style));
            }
        }
    }
    lines.push(Line::from(spans));
    if shown.len() < text.len() {
        let more = text[shown.len()..].chars().count();
        lines.push(Line::styled(
            format!("… {} more: `ewe show` has the rest", counted(more, "character")),
            bold(),
        ));
    }
    lines.push(Line::default());
}

fn beside(session: &ReviewSession<'_>, view: &TaskView) -> (String, Text<'static>) {
    let mut lines = Vec::new();
    let title = match &session.beside {
        SidePanel::Nothing => String::new(),
        SidePanel::Neighbor {
            place,
            instances: theirs,
        } => match view.neighbors.get(*place) {
            Some(near) => {
                text(
                    &mut lines,
                    "instruction",
                    &near.instruction,
                    Some(&view.task.instruction),
                );
                instances(&mut lines, theirs, Some(&view.instances));
                format!(
                    " {} of {} similar · task {} · {} · ROUGE-L {:.2} ",
                    place + 1,
                    view.neighbors.len(),
                    near.id,
                    near.review,
                    near.rouge_l
                )
            }
            None => String::new(),
        },
        SidePanel::Provenance => {
            for call in &view.provenance {
                let model = line(call.model.as_deref().unwrap_or(""));
                text(
                    &mut lines,
                    &format!("response of {model}, {}", line(&call.stage)),
                    &call.response,
                    None,
                );
                text(&mut lines, "prompt", &call.prompt, None);
            }
            if view.provenance.is_empty() {
                lines.push(Line::from("no model was asked: a seed, or imported"));
            }
            " where it came from ".to_owned()
        }
    };
    (title, Text::from(lines))
}

/// Shows all keys. Returns whether there are more below.
fn help(frame: &mut Frame, scroll: u16) -> bool {
    let area = frame.area();
    let lines: Vec<Line> = KEYS
        .iter()
        .map(|(keys, what)| Line::from(format!(" {keys:<17}{what} ")))
        .collect();
    let widest = lines.iter().map(Line::width).max().unwrap_or_default();
    let width = area.width.min(widest as u16 + 2);
    let height = area.height.min(lines.len() as u16 + 2);
    let middle = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    };
    frame.render_widget(Clear, middle);
    panel(frame, middle, " keys ", Text::from(lines), scroll)
}
