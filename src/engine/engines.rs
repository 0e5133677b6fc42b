//! The engines of a model, each on a device and a thread of its own, behind one queue.

use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use ewe::text::{counted, format_size};

use super::batch::{BatchConfig, Engine, EngineRequest, Stats};
use super::budget;
use super::dispatch::{Dispatcher, Seat};
use super::state::{Orphans, WorkerState};
use super::worker::{self, Work};
use crate::model::cache::KvCache;
use crate::model::{CausalLm, ModelInfo};
use tch::{Device, Kind};

/// A model that is ready to run on a device.
pub struct PlacedModel {
    /// The device as it was named.
    pub name: String,
    /// The model.
    pub model: Box<dyn CausalLm>,
    /// The type that it computes in.
    pub kind: Kind,
    /// Its device.
    pub device: Device,
    /// The limits of its engine.
    pub config: BatchConfig,
}

/// The size of the KV cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvBudget {
    /// In bytes.
    pub bytes: usize,
    /// In tokens of this model, of prompts and answers.
    pub tokens: usize,
}

/// A device that was to compute, and does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceFailure {
    /// The device as it was named.
    pub device: String,
    /// Why, in one line.
    pub reason: String,
}

/// How a device is.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceReading {
    /// The device as it was named.
    pub device: String,
    /// Bytes that its KV cache may have.
    pub kv_budget: usize,
    /// What its engine did, and does.
    pub stats: Stats,
    /// Whether it computes.
    pub is_up: bool,
}

/// One engine.
struct EngineThread {
    name: String,
    capacity: usize,
    budget: KvBudget,
    /// Bytes of the prefix cache on a GPU, 0 within a KV cache of pages; none on the CPU.
    gpu_prefix_bytes: Option<usize>,
    state: Arc<WorkerState>,
    /// None only while dropping.
    worker: Option<JoinHandle<()>>,
}

/// All engines of a model, at least one. Dropping them stops their threads.
pub struct Engines {
    threads: Vec<EngineThread>,
    dispatcher: Arc<Dispatcher<EngineRequest>>,
    orphans: Arc<Orphans>,
    /// Devices that could not hold the model.
    absent: Vec<DeviceFailure>,
}

impl Engines {
    /// Starts an engine for each of these models, at least one; `absent` are devices that could not
    /// hold it. Engines on the CPU divide its threads.
    pub fn start(models: Vec<PlacedModel>, absent: Vec<DeviceFailure>) -> Result<Engines> {
        let on_cpu = models.iter().filter(|model| !model.device.is_cuda()).count();
        // Each thread has a number of its own, and a lone engine the process's.
        let threads =
            (models.len() > 1 && on_cpu > 0).then(|| (tch::get_num_threads() / on_cpu as i32).max(1));
        let orphans = Arc::<Orphans>::default();
        let (seats, incoming): (Vec<_>, Vec<_>) = models.iter().map(seat).unzip();
        let dispatcher = Dispatcher::new(seats);
        let mut started = Engines {
            threads: Vec::new(),
            dispatcher: dispatcher.clone(),
            orphans: orphans.clone(),
            absent,
        };
        for (number, (placed, incoming)) in models.into_iter().zip(incoming).enumerate() {
            let state = Arc::new(WorkerState::new(placed.config.advice, orphans.clone()));
            let work = Work {
                incoming,
                state: state.clone(),
                dispatcher: dispatcher.clone(),
                number,
            };
            let threads = threads.filter(|_| !placed.device.is_cuda());
            started.threads.push(EngineThread::start(placed, work, threads)?);
        }
        Ok(started)
    }

    /// Passes requests to the engines, in this order. A single engine gets them all at once.
    ///
    /// # Errors
    ///
    /// Returns why no engine is left.
    pub fn submit(&self, requests: Vec<EngineRequest>) -> Result<(), String> {
        self.dispatcher.submit(requests)
    }

    /// Returns what the answers to their requests share.
    pub(super) fn orphans(&self) -> &Arc<Orphans> {
        &self.orphans
    }

    /// Returns how many requests they run at once, together.
    pub fn capacity(&self) -> usize {
        self.threads.iter().map(|thread| thread.capacity).sum()
    }

    /// Returns the size of the smallest KV cache, which every request must fit into: any engine may
    /// get it.
    pub fn smallest_budget(&self) -> KvBudget {
        let budgets = self.threads.iter().map(|thread| thread.budget);
        let smallest = budgets.min_by_key(|budget| budget.tokens);
        smallest.expect("there is at least one engine")
    }

    /// Returns how each device is, also those that could not hold the model.
    pub fn devices(&self) -> Vec<DeviceReading> {
        let here = self.threads.iter().map(|thread| DeviceReading {
            device: thread.name.clone(),
            kv_budget: thread.budget.bytes,
            stats: thread.state.stats(),
            is_up: thread.broken().is_none(),
        });
        let absent = self.absent.iter().map(|absent| DeviceReading {
            device: absent.device.clone(),
            kv_budget: 0,
            stats: Stats::default(),
            is_up: false,
        });
        here.chain(absent).collect()
    }

    /// Returns one line for people for each engine, with its device if there are several.
    pub fn budget_lines(&self, context: usize) -> Vec<String> {
        let lines = self.threads.iter().map(|thread| match self.threads.len() {
            1 if self.absent.is_empty() => thread.budget_line(context),
            _ => format!("{}: {}", thread.name, thread.budget_line(context)),
        });
        lines.collect()
    }

    /// Returns what the engines have done so far, and are doing now, together.
    pub fn stats(&self) -> Stats {
        let mut all = self.threads.iter().map(|thread| thread.state.stats());
        let mut sum = all.next().unwrap_or_default();
        for stats in all {
            sum.finished += stats.finished;
            sum.prompt_tokens += stats.prompt_tokens;
            sum.saved_tokens += stats.saved_tokens;
            sum.generated_tokens += stats.generated_tokens;
            sum.steps += stats.steps;
            sum.running += stats.running;
            sum.waiting += stats.waiting;
            sum.kv_bytes += stats.kv_bytes;
            sum.prefill += stats.prefill;
            sum.decode += stats.decode;
            sum.sample += stats.sample;
        }
        sum.waiting += self.dispatcher.waiting();
        sum
    }

    /// Returns how many requests no engine has yet.
    pub fn waiting(&self) -> usize {
        self.dispatcher.waiting()
    }

    /// Returns why the model cannot go on, if so: every engine has ended, or fails step after step.
    pub fn broken(&self) -> Option<String> {
        let reasons: Option<Vec<String>> = self.threads.iter().map(EngineThread::broken).collect();
        reasons?.pop()
    }

    /// Returns the devices that do not compute while others do.
    pub fn failures(&self) -> Vec<DeviceFailure> {
        let failed = self.threads.iter().filter_map(|thread| {
            let reason = thread.broken()?;
            let reason = reason.lines().next().unwrap_or_default().to_owned();
            let device = thread.name.clone();
            Some(DeviceFailure { device, reason })
        });
        self.absent.iter().cloned().chain(failed).collect()
    }

    /// Waits until no device can compute any more, so that only a new process can answer. Returns
    /// the error that broke one of them. On the CPU this never happens.
    pub async fn devices_lost(&self) -> String {
        let mut reason = String::new();
        for thread in &self.threads {
            reason = thread.state.device_lost().await;
        }
        reason
    }
}

impl Drop for Engines {
    fn drop(&mut self) {
        self.dispatcher.close();
        for thread in &mut self.threads {
            if let Some(worker) = thread.worker.take() {
                let _ = worker.join();
            }
        }
    }
}

/// Returns an engine as the dispatcher sees it, and where its requests come from.
fn seat(placed: &PlacedModel) -> (Seat<EngineRequest>, mpsc::Receiver<Vec<EngineRequest>>) {
    let (jobs, incoming) = mpsc::channel();
    let bytes = KvCache::bytes_per_token(placed.model.info(), placed.kind).max(1);
    let seat = Seat {
        name: placed.name.clone(),
        capacity: placed.config.max_batch,
        prefix_tokens: (placed.config.prefix_bytes / bytes).min(placed.config.prefix_tokens),
        jobs,
    };
    (seat, incoming)
}

impl EngineThread {
    /// Starts the thread of an engine, which computes with so many `threads`, or the process's
    /// number.
    fn start(placed: PlacedModel, work: Work, threads: Option<i32>) -> Result<EngineThread> {
        let PlacedModel {
            name,
            model,
            kind,
            device,
            config,
        } = placed;
        let info: &ModelInfo = model.info();
        let mut thread = EngineThread {
            name,
            capacity: config.max_batch,
            budget: KvBudget {
                bytes: config.kv_bytes,
                tokens: KvCache::tokens_within(config.kv_bytes, info, kind, device),
            },
            gpu_prefix_bytes: match KvCache::has_pages(info, kind, device) {
                true => Some(0),
                false => device.is_cuda().then_some(config.prefix_bytes),
            },
            state: work.state.clone(),
            worker: None,
        };
        let run = move || {
            if let Some(threads) = threads {
                tch::set_num_threads(threads);
            }
            worker::run(Engine::new(model, kind, device, config), &work);
        };
        let worker = std::thread::Builder::new()
            .name("ewe-engine".to_string())
            .spawn(run)
            .context("cannot start the engine's thread")?;
        thread.worker = Some(worker);
        Ok(thread)
    }

    /// Returns why it cannot go on, if so.
    fn broken(&self) -> Option<String> {
        let ended = self.worker.as_ref().is_none_or(JoinHandle::is_finished);
        self.state.broken().or_else(|| ended.then(|| self.state.last()))
    }

    /// Returns one line for people about the KV cache and what it holds, and on a GPU about the
    /// limits that follow from its memory.
    fn budget_line(&self, context: usize) -> String {
        let KvBudget { bytes, tokens } = self.budget;
        let whole = tokens / context;
        let holds = match whole {
            0 => format!("less than the model's context of {context}, so longer requests are refused"),
            _ => format!(
                "{} of the model's whole context of {context}",
                counted(whole, "request"),
            ),
        };
        let more = self.gpu_prefix_bytes.map(|prefix_bytes| {
            let limits = budget::gpu_limits(self.capacity, prefix_bytes);
            format!("; {limits}")
        });
        format!(
            "{} for keys and values hold {}, {holds}{}",
            format_size(bytes as u64),
            counted(tokens, "token"),
            more.unwrap_or_default()
        )
    }
}
