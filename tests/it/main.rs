//! Tests from the command line: one binary, a module for each area.

// The output of tests is for whoever runs them.
#![allow(clippy::disallowed_macros, clippy::disallowed_methods)]

mod backup;
mod bad_rows;
mod batch;
mod candidates;
#[cfg(feature = "torch")]
mod chat_terminal;
mod client;
mod columns;
mod compare;
mod conversation_files;
#[cfg(feature = "torch")]
mod conversation_train;
mod conversation_turns;
mod conversations;
mod curate;
mod defects;
#[cfg(feature = "torch")]
mod devices;
mod dialects;
mod docs;
mod documents;
mod documents_damaged;
mod documents_generate;
mod endless_answers;
mod endpoint_list;
mod eval;
mod eval_batch;
mod evolve;
#[cfg(feature = "torch")]
mod families;
mod faulty_endpoint;
mod features;
mod field_files;
mod fields;
mod fields_kept;
mod fields_shared;
mod filter;
mod filter_parts;
#[cfg(feature = "torch")]
mod foreign_configs;
#[cfg(feature = "torch")]
mod foreign_models;
mod formats;
#[cfg(feature = "torch")]
mod gain;
mod generate;
#[cfg(feature = "torch")]
mod gguf;
mod giving_up;
#[cfg(feature = "torch")]
mod golden;
#[cfg(feature = "torch")]
mod gpu_day;
mod hints;
mod history;
mod imports;
#[cfg(feature = "torch")]
mod influence;
mod install;
mod interchange;
#[cfg(feature = "torch")]
mod json_results;
mod judge;
mod likelihood;
mod links;
mod listing;
mod lists;
#[cfg(feature = "torch")]
mod memory;
mod merge_db;
mod mock;
mod mock_hub;
#[cfg(feature = "torch")]
mod models;
mod nccl;
mod next;
mod one_number;
mod option_conflicts;
mod options;
mod outputs;
mod own_recipes;
mod page;
mod page_access;
mod page_queue;
mod parquet;
#[cfg(feature = "torch")]
mod plan_serve;
mod plurals;
mod punkt;
mod push;
mod push_faults;
#[cfg(feature = "torch")]
mod ranks;
mod ranks_network;
mod read_only;
mod reasoning;
mod recipes;
mod refused_fields;
mod reliable;
mod replies;
mod report;
mod report_evaluation;
mod requests;
mod review;
mod rubrics;
mod rules;
mod screen;
mod search;
mod seeds;
#[cfg(feature = "torch")]
mod serve;
#[cfg(feature = "torch")]
mod serve_access;
#[cfg(feature = "torch")]
mod serve_adapters;
#[cfg(feature = "torch")]
mod serve_clients;
#[cfg(feature = "torch")]
mod serve_connections;
#[cfg(feature = "torch")]
mod serve_echo;
#[cfg(feature = "torch")]
mod serve_fields;
#[cfg(feature = "torch")]
mod serve_limits;
#[cfg(feature = "torch")]
mod serve_structured;
#[cfg(feature = "torch")]
mod serve_tools;
#[cfg(feature = "torch")]
mod server;
mod settings;
mod settings_files;
#[cfg(feature = "torch")]
mod several_devices;
#[cfg(feature = "torch")]
mod shards;
mod shards_adapter;
mod shell;
mod signals;
mod source;
mod split;
mod standard_output;
mod store;
mod streams;
mod support;
mod system_messages;
#[cfg(feature = "torch")]
mod system_messages_model;
mod tables;
mod teams;
mod teams_shared;
#[cfg(feature = "torch")]
mod templates;
#[cfg(feature = "torch")]
mod tensor_formats;
#[cfg(feature = "torch")]
mod token_text;
#[cfg(feature = "torch")]
mod train;
#[cfg(feature = "torch")]
mod train_faults;
#[cfg(feature = "torch")]
mod train_rows;
mod turns;
mod unsupported_files;
mod validators;
mod waiting;
