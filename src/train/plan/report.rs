//! A plan as it is printed: as text, or as JSON.

use super::estimate::MemoryEstimate;
use super::gpus;
use super::machine::Here;
use super::run_time::{GpuTime, TimedRun};
use super::size::Size;
use super::wire::Wire;
use anyhow::Result;
use ewe::finetune::Method;
use ewe::job::plan::PlanJob;
use ewe::text::{counted, noun};
use serde_json::{Value, json};

/// Columns of the options of `ewe train` in the table of formats.
const WIDEST: usize = 38;

/// The estimates of a plan.
pub struct PlanReport<'a> {
    /// What was asked for.
    pub job: &'a PlanJob,
    /// Sizes of the model.
    pub size: &'a Size,
    /// The methods on this machine.
    pub here: Vec<Here>,
    /// The estimate of each method.
    pub methods: Vec<MemoryEstimate>,
    /// Estimates of other formats, by the options that select them.
    pub formats: Vec<(String, MemoryEstimate)>,
    /// With a model that is divided: sizes of GPUs in gigabytes, and how many of each do it.
    pub smallest: Vec<(u64, u64)>,
    /// For each method that does not fit, the cheapest change that makes it fit, and the formats
    /// that `ewe train` chooses by itself.
    pub changes: Vec<(OptionsAndNeed, OptionsAndNeed)>,
}

/// Options, and what a run needs with them; none if there are none that fit.
type OptionsAndNeed = Option<(String, MemoryEstimate)>;

/// A row of the table of bytes: its name, and its bytes of an estimate.
type TableRow = (&'static str, fn(&MemoryEstimate) -> u64);

const ROWS: [TableRow; 8] = [
    ("weights", |of| of.bytes.weights),
    ("masters", |of| of.bytes.masters),
    ("moments", |of| of.bytes.states),
    ("gradients", |of| of.bytes.gradients),
    ("activations", |of| of.bytes.activations),
    ("logits", |of| of.bytes.logits),
    ("workspace", |of| of.bytes.workspace),
    ("total", |of| of.total),
];

impl PlanReport<'_> {
    /// Returns whether some method fits into the memory that was given.
    pub fn fits(&self) -> bool {
        self.job
            .memory
            .is_none_or(|memory| self.methods.iter().any(|of| of.total <= memory))
    }

    /// Returns the report as JSON.
    pub fn json(&self) -> Result<Value> {
        let methods = self.methods.iter().map(|of| self.json_of(of));
        let methods = methods.collect::<Result<Vec<_>>>()?;
        let formats = self.formats.iter().map(|(options, of)| {
            let mut value = self.json_of(of)?;
            value["options"] = json!(options);
            anyhow::Ok(value)
        });
        let formats = formats.collect::<Result<Vec<_>>>()?;
        let changes = self.changes.iter().filter_map(|(cheapest, _)| cheapest.as_ref());
        let changes: Vec<_> = changes
            .map(|(options, of)| json!({"options": options, "total": of.total}))
            .collect();
        let smallest: Vec<_> = self
            .smallest
            .iter()
            .map(|(memory, gpus)| json!({"memory": memory, "gpus": gpus}))
            .collect();
        let here: Vec<_> = self.here.iter().map(Here::json).collect();
        let mut value = json!({
            "model": self.size,
            "machine": here,
            "methods": methods,
            "formats": formats,
            "changes": changes,
        });
        if self.job.shard.is_some() {
            value["machines"] = json!(smallest);
        }
        Ok(value)
    }

    fn json_of(&self, estimate: &MemoryEstimate) -> Result<Value> {
        let mut value = serde_json::to_value(estimate)?;
        value["fits"] = json!(gpus::smallest(estimate.total));
        value["fits_memory"] = json!(self.job.memory.map(|memory| estimate.total <= memory));
        let wire = self.wire(estimate);
        value["gpus"] = json!(self.job.ranks());
        value["parts"] = json!(estimate.config.parts);
        value["wire_bytes"] = json!(wire.total());
        value["wire"] = json!(wire);
        value["times"] = json!(self.times(estimate));
        Ok(value)
    }

    fn wire(&self, estimate: &MemoryEstimate) -> Wire {
        Wire::of(self.job, self.size, estimate)
    }

    fn times(&self, estimate: &MemoryEstimate) -> Vec<GpuTime> {
        let run = TimedRun {
            size: self.size,
            estimate,
            tokens: self.job.tokens.div_ceil(self.job.ranks()),
            exchanged: match self.job.ranks() {
                1 => [0.0; 2],
                _ => self.wire(estimate).seconds(self.job.wire()),
            },
            share: self.job.utilisation.map(|percent| percent / 100.0),
        };
        run.times()
    }

    /// Returns the report as text.
    pub fn text(&self) -> String {
        let times = self.methods.iter().map(|of| self.table_of_times(of));
        [
            self.heading(),
            self.fit_lines(),
            self.table_of_machine(),
            self.table_of_methods(),
            self.ranks_lines(),
            self.table_of_formats(),
            times.collect(),
        ]
        .concat()
    }

    fn heading(&self) -> String {
        format!(
            "{} with {}: {} parameters, {} of them in linear layers\n\n",
            self.size.family,
            counted(self.size.layers, "block"),
            grouped(self.size.parameters),
            grouped(self.size.linear),
        )
    }

    /// Returns the table of this machine; nothing if nothing is known of it.
    fn table_of_machine(&self) -> String {
        let width = self.here.iter().map(|here| here.device.chars().count()).max();
        let Some(width) = width.map(|width| width.max("this machine".len())) else {
            return String::new();
        };
        let mut text = format!(
            "{:<width$}{:>12}{:>12}  {:<10}{}\n",
            "this machine", "free", "needs", "", "with `ewe train`"
        );
        for here in &self.here {
            let verdict = match &here.instead {
                _ if here.fits() => "fits".to_owned(),
                Some((options, of)) => format!("{options}, with {}", needs(of)),
                None => "does not fit".to_owned(),
            };
            text += &format!(
                "{:<width$}{:>9.1} GB{:>9.1} GB  {:<10}{verdict}\n",
                here.device,
                gigabytes(here.free),
                gigabytes(here.asked.total),
                name(&here.asked),
            );
        }
        text + "\n"
    }

    /// Returns the bytes by kind, a column for each method, and what they hold for.
    fn table_of_methods(&self) -> String {
        let line = |name: &str, cell: &dyn Fn(&MemoryEstimate) -> String| {
            let cells: String = self.methods.iter().map(cell).collect();
            format!("{name:<12}{cells}\n")
        };
        let mut text = line("", &|of| format!("{:>12}", name(of)));
        for (name, bytes) in ROWS {
            text += &line(name, &|of| format!("{:>9.1} GB", gigabytes(bytes(of))));
        }
        text += &line("fits", &|of| format!("{:>12}", gpus::smallest_named(of.total)));
        let tokens = self.methods.first().map_or(0, |of| of.config.tokens);
        let targets = self.job.target_tokens;
        text + &format!(
            "\nThis is the moment that takes most, with {} at once (--micro-tokens), {}.\n\n",
            counted(tokens, "token"),
            targets.filter(|&targets| targets < tokens).map_or(
                "all of them targets".to_owned(),
                |targets| format!("{} among them", counted(targets, "target"))
            ),
        )
    }

    /// Returns what the ranks of a run exchange, and of how many GPUs a machine must be that does
    /// it; nothing for one GPU.
    fn ranks_lines(&self) -> String {
        if self.job.ranks() < 2 {
            return String::new();
        }
        let how = match self.job.nodes {
            1 => format!("{} train", counted(self.job.gpus, "GPU")),
            nodes => format!(
                "{} of {} each train",
                counted(nodes, "machine"),
                counted(self.job.gpus, "GPU")
            ),
        };
        let mut text = match (self.job.parts(), self.job.nodes) {
            (1, 1) => format!(
                "{how} data-parallel (`ewe train --gpus {}`): each holds all of this. In a step they add up gradients in fp32:\n",
                self.job.gpus
            ),
            (1, _) => format!(
                "{how} data-parallel: each holds all of this. In a step they add up gradients in fp32:\n"
            ),
            (parts, _) => format!(
                "{how} together, and every {parts} of them divide the model (`ewe train --shard {parts}`): each holds \
                 what is listed. In a step they gather parameters and add up gradients in fp32:\n"
            ),
        };
        for of in &self.methods {
            let wire = self.wire(of);
            text += &format!(
                "{:<12}{:>9} MB sent by each, and as much received{}\n",
                name(of),
                megabytes(wire.total()),
                match of.config.parts {
                    1 => String::new(),
                    _ => format!(
                        ": {} of blocks beside computing, {} of embedding and head, {} of gradients",
                        megabytes(wire.blocks),
                        megabytes(wire.ends),
                        megabytes(wire.gradients)
                    ),
                }
            );
        }
        if !self.smallest.is_empty() {
            let machine = |(memory, gpus): &(u64, u64)| format!("{gpus} of {memory} GB");
            // Of as many GPUs, the smallest.
            let mut least = self.smallest.clone();
            least.dedup_by_key(|(_, gpus)| *gpus);
            let machines: Vec<String> = least.iter().map(machine).collect();
            text += &format!("GPUs that hold it, divided among them: {}\n", machines.join(", "));
        }
        text + "\n"
    }

    /// Returns a line for each set of formats, and what they hold for.
    fn table_of_formats(&self) -> String {
        let full = self
            .formats
            .iter()
            .any(|(_, of)| of.config.method == Method::Full);
        let mut text = format!(
            "{:<WIDEST$}{:>12}{:>10}{:>10}{:>9}\n",
            "", "bytes/param", "formats", "total", "fits"
        );
        for (options, of) in &self.formats {
            let formats = of.bytes.formats(of.all_gradients);
            // What is too long stands on a line of its own, for a terminal of 80 columns.
            let name = match options.len() > WIDEST {
                true => format!("{options}\n{:<WIDEST$}", ""),
                false => format!("{options:<WIDEST$}"),
            };
            text += &format!(
                "{name}{:>12.1}{:>7.1} GB{:>7.1} GB{:>9}\n",
                formats as f64 / self.size.parameters as f64,
                gigabytes(formats),
                gigabytes(of.total),
                gpus::smallest_named(of.total)
            );
        }
        text += "\nFormats are weights, masters, moments and gradients";
        if !full {
            return text + ".\n";
        }
        text += "; with --update-in-backward gradients are one block's.\n\
                 `ewe train --update-in-backward` computes each step twice to clip, as it does by default; with `ewe train --clip 0` once.\n";
        if let Some((_, of)) = self.formats.iter().find(|(_, of)| of.host > 0) {
            text += &format!(
                "--offload takes {:.1} GB of the machine's own memory besides.\n",
                gigabytes(of.host)
            );
        }
        text
    }

    /// Returns the time of a method on each GPU that holds it, and what takes it.
    fn table_of_times(&self, estimate: &MemoryEstimate) -> String {
        let config = &estimate.config;
        let share = match self.job.utilisation {
            Some(percent) => format!(", products at {percent:.0} % of the peak"),
            None => String::new(),
        };
        let clip = match config.formats.update_in_backward {
            true => ", with `ewe train --clip 0`",
            false => "",
        };
        let mut text = format!(
            "\n{}: {:.2} TFLOP for 1,000 tokens. Minutes for {} {} in steps of {}{share}{clip} (estimates):\n",
            name(estimate),
            estimate.flops_per_token / 1e9,
            grouped(self.job.tokens),
            noun(self.job.tokens, "token"),
            grouped(config.step_tokens * self.job.ranks()),
        );
        let times = self.times(estimate);
        if times.is_empty() {
            return text + "longer than anyone has: no one GPU holds it\n";
        }
        let ranks = self.job.ranks();
        let exchange = |text: String| if ranks > 1 { text } else { String::new() };
        text += &format!(
            "{:<19}{:>9}{:>10}{:>9}{:>13}{:>10}{}\n",
            "",
            "all",
            "products",
            "updates",
            "checkpoints",
            "launches",
            exchange(format!("{:>10}", "exchange"))
        );
        for time in times {
            text += &format!(
                "{:<19}{:>9}{:>10}{:>9}{:>13}{:>10}{}\n",
                time.gpu,
                minutes(time.minutes),
                minutes(time.products),
                minutes(time.updates),
                minutes(time.checkpoints),
                minutes(time.launches),
                exchange(format!("{:>10}", minutes(time.exchange)))
            );
        }
        text
    }

    /// Returns whether each method fits into the memory that was given, and what to change if not.
    fn fit_lines(&self) -> String {
        let Some(memory) = self.job.memory else {
            return String::new();
        };
        let (mut text, mut changes) = (String::new(), self.changes.iter());
        for of in &self.methods {
            let (name, room) = (name(of), gigabytes(memory));
            if of.total <= memory {
                text += &format!("{name}: fits into {room:.1} GB.\n");
                continue;
            }
            let (cheapest, chosen) = changes
                .next()
                .map_or((None, None), |(a, b)| (a.as_ref(), b.as_ref()));
            let way = match cheapest {
                Some((options, of)) => {
                    format!("`ewe train {options}` does, with {:.1} GB", gigabytes(of.total))
                }
                _ => "nothing that ewe has does".to_owned(),
            };
            text += &format!("{name}: does not fit into {room:.1} GB; {way}.\n");
            if let Some((options, of)) = chosen {
                let needs = needs(of);
                text += &format!("  By itself, `ewe train` takes {options} there, with {needs}.\n");
            }
        }
        text + "\n"
    }
}

/// Returns the memory of an estimate in words, with that of the host where it takes any.
fn needs(estimate: &MemoryEstimate) -> String {
    let here = format!("{:.1} GB", gigabytes(estimate.total));
    match estimate.host {
        0 => here,
        host => format!("{here} and {:.1} GB of the machine's own memory", gigabytes(host)),
    }
}

/// Formats bytes in megabytes of 10⁶ bytes.
fn megabytes(bytes: u64) -> String {
    grouped(bytes.div_ceil(1_000_000))
}

/// Returns the name of the method of an estimate.
fn name(estimate: &MemoryEstimate) -> String {
    let lora = &estimate.config.lora;
    match estimate.config.method {
        Method::Full => "full".to_owned(),
        Method::Lora if lora.dora => format!("DoRA r{}", lora.rank),
        Method::Lora => format!("LoRA r{}", lora.rank),
    }
}

/// Returns bytes in gigabytes of 10⁹ bytes.
pub fn gigabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e9
}

/// Formats minutes with two digits that tell something.
fn minutes(minutes: f64) -> String {
    match minutes {
        of if of >= 9.95 => format!("{of:.0}"),
        of if of >= 0.995 => format!("{of:.1}"),
        of => format!("{of:.2}"),
    }
}

/// Formats `6050882784` as `6,050,882,784`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
