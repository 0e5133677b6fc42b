//! Formats that take less memory than those asked for, from the best quality to the least memory:
//! what `ewe train` goes down when nobody chose formats.

use clap::ValueEnum;
use ewe::finetune::{Formats, Master, Method, OptimizerKind, Precision, Quantize};
use tch::Device;

/// Formats that may replace those asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Rung {
    /// The formats.
    pub formats: Formats,
    /// The options that select them.
    pub options: String,
    /// What they cost.
    pub price: &'static str,
}

/// Where a run computes, as far as it decides which formats there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Whether it is a GPU, so that there is other memory besides.
    pub gpu: bool,
    /// Whether several processes add up their gradients, which must then all exist at once.
    pub ranks: bool,
}

impl Place {
    /// Returns the place of one of `ranks` processes on `device`.
    pub fn of(device: Device, ranks: usize) -> Place {
        Place {
            gpu: device.is_cuda(),
            ranks: ranks > 1,
        }
    }
}

/// Returns formats that take less memory than `asked`, best first. Those that give the same weights
/// come before 8-bit moments, which published comparisons find as good as full ones (Dettmers et
/// al. 2021), although some take longer: memory forces a choice, and should not choose worse
/// results. Offloading gives the same weights too, but waits for the host in each step, so that it
/// comes after them. Last are weights without a master.
pub fn rungs(asked: Formats, method: Method, place: Place) -> Vec<Rung> {
    match method {
        Method::Full => of_all_weights(asked, place),
        Method::Lora => of_adapters(asked),
    }
}

fn of_adapters(asked: Formats) -> Vec<Rung> {
    let with = |quantize, recompute, price| {
        let formats = Formats {
            quantize,
            recompute,
            ..asked
        };
        rung(asked, formats, price)
    };
    let (plain, nf4) = (asked.quantize, Some(Quantize::Nf4));
    vec![
        with(plain, true, "the same weights, for a third more arithmetic"),
        with(nf4, asked.recompute, "the base in 4 bits"),
        with(nf4, true, "the base in 4 bits, and a third more arithmetic"),
    ]
}

fn of_all_weights(asked: Formats, place: Place) -> Vec<Rung> {
    let eight = Formats {
        optimizer: OptimizerKind::Adamw8bit,
        ..asked
    };
    let offloaded = Formats {
        offload: true,
        ..asked
    };
    let without_master = |formats: Formats| Formats {
        master: match formats.precision {
            Precision::Bf16 => Master::Stochastic,
            Precision::Fp32 => formats.master,
        },
        ..formats
    };
    let adafactor = Formats {
        optimizer: OptimizerKind::Adafactor,
        ..asked
    };
    let mut all = strategies(asked, asked, place, "the same weights");
    all.extend(strategies(asked, eight, place, "moments in 8 bits"));
    if place.gpu {
        let price = "the same weights, which wait for the machine's own memory in each step";
        all.extend(strategies(asked, offloaded, place, price));
    }
    if asked.precision == Precision::Bf16 {
        let price = "moments in 8 bits, and weights rounded stochastically";
        all.extend(strategies(asked, without_master(eight), place, price));
    }
    let price = "no first moment, and weights rounded stochastically in bf16";
    all.extend(strategies(asked, without_master(adafactor), place, price));
    // The formats asked for are no replacement of themselves.
    all.retain(|rung| rung.formats != asked);
    all
}

/// Returns `formats` as they are, with blocks recomputed, and with updates in backward.
fn strategies(asked: Formats, formats: Formats, place: Place, price: &'static str) -> Vec<Rung> {
    let recomputed = Formats {
        recompute: true,
        ..formats
    };
    let backward = Formats {
        update_in_backward: true,
        ..recomputed
    };
    let mut all = vec![formats, recomputed];
    if !place.ranks {
        all.push(backward);
    }
    all.into_iter()
        .map(|formats| rung(asked, formats, price))
        .collect()
}

fn rung(asked: Formats, formats: Formats, price: &'static str) -> Rung {
    Rung {
        options: options(asked, formats),
        formats,
        price,
    }
}

/// Returns the options that make `formats` of `asked`.
fn options(asked: Formats, formats: Formats) -> String {
    let mut options = Vec::new();
    if formats.optimizer != asked.optimizer {
        options.push(format!("--optimizer {}", name(&formats.optimizer)));
    }
    if formats.master != asked.master {
        options.push(format!("--master {}", name(&formats.master)));
    }
    if let Some(quantize) = formats.quantize.filter(|_| asked.quantize.is_none()) {
        options.push(format!("--quantize {}", name(&quantize)));
    }
    if formats.offload && !asked.offload {
        options.push("--offload".to_owned());
    }
    if formats.update_in_backward && !asked.update_in_backward {
        options.push("--update-in-backward".to_owned());
    } else if formats.recompute && !asked.recompute {
        options.push("--recompute".to_owned());
    }
    options.join(" ")
}

/// Returns the name of a value on the command line.
fn name(value: &impl ValueEnum) -> String {
    let value = value.to_possible_value();
    value.map_or_else(String::new, |value| value.get_name().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GPU: Place = Place {
        gpu: true,
        ranks: false,
    };

    fn options_of(asked: Formats, method: Method, place: Place) -> Vec<String> {
        let rungs = rungs(asked, method, place).into_iter();
        rungs.map(|rung| rung.options).collect()
    }

    #[test]
    fn what_gives_the_same_weights_comes_first() {
        let all = options_of(Formats::default(), Method::Full, GPU);
        assert_eq!(
            all,
            [
                "--recompute",
                "--update-in-backward",
                "--optimizer adamw8bit",
                "--optimizer adamw8bit --recompute",
                "--optimizer adamw8bit --update-in-backward",
                "--offload",
                "--offload --recompute",
                "--offload --update-in-backward",
                "--optimizer adamw8bit --master stochastic",
                "--optimizer adamw8bit --master stochastic --recompute",
                "--optimizer adamw8bit --master stochastic --update-in-backward",
                "--optimizer adafactor --master stochastic",
                "--optimizer adafactor --master stochastic --recompute",
                "--optimizer adafactor --master stochastic --update-in-backward",
            ]
        );
        let lora = options_of(Formats::default(), Method::Lora, GPU);
        assert_eq!(
            lora,
            ["--recompute", "--quantize nf4", "--quantize nf4 --recompute"]
        );
    }

    #[test]
    fn a_place_decides_what_there_is() {
        let ranks = Place { ranks: true, ..GPU };
        let all = options_of(Formats::default(), Method::Full, ranks).join("\n");
        assert!(
            !all.contains("--update-in-backward") && all.contains("--offload"),
            "{all}"
        );
        let cpu = Place { gpu: false, ..GPU };
        let fp32 = Formats {
            precision: Precision::Fp32,
            ..Formats::default()
        };
        let all = options_of(fp32, Method::Full, cpu).join("\n");
        assert!(!all.contains("--offload") && !all.contains("--master"), "{all}");
    }
}
