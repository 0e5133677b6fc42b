//! A plan as it is printed: as text, or as JSON.

use super::estimate::MemoryEstimate;
use super::gpus;
use super::run_time::{GpuTime, TimedRun};
use super::size::Size;
use anyhow::Result;
use ewe::finetune::Method;
use ewe::job::plan::PlanJob;
use ewe::text::{counted, noun};
use serde_json::{Value, json};

/// The estimates of a plan.
pub struct PlanReport<'a> {
    /// What was asked for.
    pub job: &'a PlanJob,
    /// Sizes of the model.
    pub size: &'a Size,
    /// The estimate of each method.
    pub methods: Vec<MemoryEstimate>,
    /// Estimates of other formats, by the options that select them.
    pub formats: Vec<(String, MemoryEstimate)>,
    /// For each method that does not fit, the cheapest change that makes it fit.
    pub changes: Vec<Option<(String, MemoryEstimate)>>,
}

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
        let changes = self.changes.iter().flatten();
        let changes: Vec<_> = changes
            .map(|(options, of)| json!({"options": options, "total": of.total}))
            .collect();
        Ok(json!({"model": self.size, "methods": methods, "formats": formats, "changes": changes}))
    }

    fn json_of(&self, estimate: &MemoryEstimate) -> Result<Value> {
        let mut value = serde_json::to_value(estimate)?;
        value["fits"] = json!(gpus::smallest(estimate.total));
        value["fits_memory"] = json!(self.job.memory.map(|memory| estimate.total <= memory));
        value["gpus"] = json!(self.job.gpus);
        value["wire_bytes"] = json!(wire_bytes(estimate, self.job.gpus));
        value["times"] = json!(self.times(estimate));
        Ok(value)
    }

    fn times(&self, estimate: &MemoryEstimate) -> Vec<GpuTime> {
        let run = TimedRun {
            size: self.size,
            estimate,
            tokens: self.job.tokens,
            share: self.job.utilisation.map(|percent| percent / 100.0),
        };
        run.times()
    }

    /// Returns the report as text.
    pub fn text(&self) -> String {
        let times = self.methods.iter().map(|of| self.table_of_times(of));
        [
            self.heading(),
            self.table_of_methods(),
            self.ranks_lines(),
            self.table_of_formats(),
            times.collect(),
            self.fit_lines(),
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

    /// Returns what the ranks of a data-parallel run exchange; nothing for one GPU.
    fn ranks_lines(&self) -> String {
        if self.job.gpus < 2 {
            return String::new();
        }
        let mut text = format!(
            "{} train data-parallel (`ewe train --gpus {}`): each holds all of this. In a step they add up gradients in fp32:\n",
            counted(self.job.gpus, "GPU"),
            self.job.gpus
        );
        for of in &self.methods {
            let wire = megabytes(wire_bytes(of, self.job.gpus));
            text += &format!(
                "{:<12}{wire:>9} MB sent by each, and as much received\n",
                name(of)
            );
        }
        text + "\n"
    }

    /// Returns a line for each set of formats, and what they hold for.
    fn table_of_formats(&self) -> String {
        let mut text = format!(
            "{:<64}{:>12}{:>10}{:>10}{:>12}\n",
            "", "bytes/param", "formats", "total", "fits"
        );
        for (options, of) in &self.formats {
            let formats = of.bytes.formats(of.all_gradients);
            text += &format!(
                "{options:<64}{:>12.1}{:>7.1} GB{:>7.1} GB{:>12}\n",
                formats as f64 / self.size.parameters as f64,
                gigabytes(formats),
                gigabytes(of.total),
                gpus::smallest_named(of.total)
            );
        }
        text += "\nFormats are weights, masters, moments and gradients; with --update-in-backward gradients are one block's.\n\
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
            "\n{}: {:.2} TFLOP for 1000 tokens. Minutes for {} {} in steps of {}{share}{clip} (estimates):\n",
            name(estimate),
            estimate.flops_per_token / 1e9,
            grouped(self.job.tokens),
            noun(self.job.tokens, "token"),
            grouped(config.step_tokens),
        );
        let times = self.times(estimate);
        if times.is_empty() {
            return text + "longer than anyone has: no one GPU holds it\n";
        }
        text += &format!(
            "{:<20}{:>10}{:>10}{:>10}{:>13}{:>10}\n",
            "", "all", "products", "updates", "checkpoints", "launches"
        );
        for time in times {
            text += &format!(
                "{:<20}{:>10.1}{:>10.1}{:>10.1}{:>13.1}{:>10.1}\n",
                time.gpu, time.minutes, time.products, time.updates, time.checkpoints, time.launches
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
                text += &format!("\n{name}: fits into {room:.1} GB.\n");
                continue;
            }
            let way = match changes.next() {
                Some(Some((options, of))) => {
                    format!("`ewe train {options}` does, with {:.1} GB", gigabytes(of.total))
                }
                _ => "nothing that ewe has does".to_owned(),
            };
            text += &format!("\n{name}: does not fit into {room:.1} GB; {way}.\n");
        }
        text
    }
}

/// Returns the bytes that each of `gpus` ranks sends in a step, by rings: fp32 gradients, all but
/// its own part of the sum twice.
pub fn wire_bytes(estimate: &MemoryEstimate, gpus: u64) -> u64 {
    2 * 4 * estimate.trained * gpus.saturating_sub(1) / gpus.max(1)
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
