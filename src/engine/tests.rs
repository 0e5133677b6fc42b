//! The engine in token ids, against greedy text of `transformers`, a naive sampler, and a model
//! that reads its logits from a table.

mod batch;
mod budgets;
mod device_sampler;
mod handle;
mod logprobs;
mod pages;
mod preemption;
mod replay;
mod run_ahead;
mod sampler;
mod several;
mod text;
pub(crate) mod watched;

use std::sync::{Arc, Mutex};

use ewe::backend::{FinishReason, Sampling};
use ewe::job::model::ModelSpec;
use tch::{Device, Kind, Tensor};

use super::batch::{BatchConfig, Begun, Engine, EngineRequest, Listener, RequestOptions};
use super::handle::LocalBackend;
use super::open;
use crate::model::layers::Linear;
use crate::model::layers::attention::ForwardPass;
use crate::model::tests::{golden, loaded};
use crate::model::{CausalLm, EmbeddingAndHead, ModelInfo};

/// Tokens, why the answer ended, and whether nobody waits for it any more.
type Heard = (Vec<i64>, Option<FinishReason>, bool);

/// Records what a request receives.
#[derive(Default, Clone)]
struct Record(Arc<Mutex<Heard>>);

impl Record {
    fn tokens(&self) -> Vec<i64> {
        self.0.lock().unwrap().0.clone()
    }
    fn reason(&self) -> Option<FinishReason> {
        self.0.lock().unwrap().1
    }
    fn leave(&self) {
        self.0.lock().unwrap().2 = true;
    }
}

impl Listener for Record {
    fn token(&mut self, id: i64) -> bool {
        self.0.lock().unwrap().0.push(id);
        true
    }
    fn done(&mut self, reason: FinishReason, _: usize) {
        self.0.lock().unwrap().1 = Some(reason);
    }
    fn failed(&mut self, reason: String) {
        panic!("{reason}");
    }
    fn gone(&self) -> bool {
        self.0.lock().unwrap().2
    }
}

fn submit(engine: &mut Engine, prompt: &[i64], sampling: &Sampling) -> Record {
    let record = Record::default();
    engine.submit(EngineRequest {
        prompt: prompt.to_vec(),
        sampling: sampling.clone(),
        end_tokens: vec![0],
        options: RequestOptions::default(),
        listener: Box::new(record.clone()),
        begun: Begun::default(),
    });
    record
}

fn greedy(max_tokens: usize) -> Sampling {
    Sampling {
        temperature: 0.0,
        max_tokens,
        ..Sampling::default()
    }
}

fn finish(engine: &mut Engine) {
    for _ in 0..10_000 {
        if engine.idle() {
            return;
        }
        engine.step();
    }
    panic!("the engine does not come to an end");
}

/// Prompts and continuations of `transformers`, with their end tokens.
fn expected(name: &str) -> Vec<(Vec<i64>, Vec<i64>)> {
    #[derive(serde::Deserialize)]
    struct Case {
        ids: Vec<i64>,
        new: Vec<i64>,
    }
    let text = std::fs::read_to_string(golden(name).join("expected.json")).unwrap();
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let cases: Vec<Case> = serde_json::from_value(value["greedy"].take()).unwrap();
    cases.into_iter().map(|case| (case.ids, case.new)).collect()
}

/// Opens a tiny checkpoint on the CPU, with its engine.
fn tiny_backend(name: &str, dtype: &str, config: BatchConfig) -> LocalBackend {
    let spec = ModelSpec {
        path: golden(name),
        adapter: None,
        device: "cpu".to_owned(),
        dtype: dtype.to_owned(),
    };
    open::with_config(&spec, config).unwrap()
}

fn tiny_engine(name: &str, config: BatchConfig) -> Engine {
    Engine::new(loaded(name).model, Kind::Float, Device::Cpu, config)
}

/// A model that reads its logits from a table: after token `i`, those of row `i`.
struct Table {
    info: ModelInfo,
    scores_vv: Tensor,
}

impl Table {
    /// After `i` comes `i + 1`, and after the last token the first.
    fn counting(vocab: i64) -> Table {
        Table::of(Tensor::eye(vocab, (Kind::Float, Device::Cpu)).roll(1, 1) * 20.0)
    }

    fn of(scores_vv: Tensor) -> Table {
        let vocab = scores_vv.size()[0];
        let info = ModelInfo {
            family: "table",
            layers: 0,
            heads: 1,
            kv_heads: 1,
            head_dim: 1,
            hidden: vocab,
            vocab,
            context: 50,
            end_tokens: vec![0],
            begin_token: None,
            tied: false,
            capped: false,
        };
        Table { info, scores_vv }
    }
}

impl CausalLm for Table {
    fn info(&self) -> &ModelInfo {
        &self.info
    }
    fn embed(&self, tokens_bt: &Tensor) -> Tensor {
        Tensor::embedding(&self.scores_vv, tokens_bt, -1, false, false)
    }
    fn block(&self, _: usize, x_btd: &Tensor, _: &mut ForwardPass) -> Tensor {
        x_btd.shallow_clone()
    }
    fn finish(&self, x_btd: &Tensor) -> Tensor {
        x_btd.shallow_clone()
    }
    fn logits(&self, hidden: &Tensor) -> Tensor {
        hidden.shallow_clone()
    }
    fn pack_head(&mut self) {}

    fn embedding_and_head(&mut self) -> EmbeddingAndHead<'_> {
        unreachable!("it has no layers")
    }

    fn head(&self) -> (Tensor, Option<Tensor>) {
        (Tensor::eye(self.info.vocab, (Kind::Float, Device::Cpu)), None)
    }
    fn for_each_linear(&mut self, _: &mut dyn FnMut(&mut Linear)) {}
    fn parameters(&self) -> Vec<(String, Tensor)> {
        vec![("scores".to_string(), self.scores_vv.shallow_clone())]
    }

    fn block_parameters(&self, _layer: usize) -> Vec<(String, Tensor)> {
        Vec::new()
    }
}
