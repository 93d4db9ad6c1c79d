//! Data that is missing, malformed or too little.

use crate::common::TinyStudy;
use crate::refusal::refused;

#[test]
fn a_missing_data_file_is_named_with_what_its_path_is_relative_to() {
    let study = TinyStudy::new().set("data.source", "no/such.csv");
    refused(&study, &["run"], 2, &["no/such.csv", "relative to"]);
}

#[test]
fn a_column_that_is_not_there_is_named_with_the_nearest() {
    let study = TinyStudy::new().set("data.prompt", "term").set("data.completion", "definitions");
    refused(
        &study,
        &["run"],
        2,
        &["rows.csv", "`data.completion`", "`definitions`", "did you mean `definition`?"],
    );
    let study = TinyStudy::new().set("data.text", "xyz");
    refused(&study, &["run"], 2, &["rows.csv", "`data.text`", "`xyz`", "`term`, `definition`"]);
}

#[test]
fn a_table_without_known_columns_shows_those_it_has() {
    let study = TinyStudy::new();
    study.write("rows.csv", b"word,meaning\na,b\n");
    refused(&study, &["run"], 2, &["rows.csv", "`word`, `meaning`", "completion = "]);
}

#[test]
fn a_ragged_line_is_named() {
    let study = TinyStudy::new();
    study.write("rows.csv", b"term,definition\na,b\nc,d,e\n");
    refused(&study, &["run"], 2, &["rows.csv:3:", "3 fields where the header has 2"]);
}

#[test]
fn a_quote_that_is_never_closed_is_named_where_it_opens() {
    let study = TinyStudy::new();
    study.write("rows.csv", b"term,definition\na,b\nc,\"d\ne,f\n");
    refused(&study, &["run"], 2, &["rows.csv:3:", "never closed"]);
}

#[test]
fn a_broken_json_line_is_named_with_its_column() {
    let study = TinyStudy::new().set("data.source", "rows.jsonl");
    study.write(
        "rows.jsonl",
        b"{\"prompt\": \"a\", \"completion\": \"b\"}\n{\"prompt\": \"a\", \"completion\": }\n",
    );
    refused(&study, &["run"], 2, &["rows.jsonl:2:31:", "not JSON"]);
}

#[test]
fn bytes_that_are_no_text_are_named_with_their_place() {
    let study = TinyStudy::new();
    study.write("rows.csv", b"term,definition\na,b\nc,\xff\n");
    refused(&study, &["run"], 2, &["rows.csv:3:3:", "UTF-8"]);
}

#[test]
fn data_without_a_row_is_refused_with_what_cleaning_did() {
    let study = TinyStudy::new();
    study.write("rows.csv", b"");
    refused(&study, &["run"], 2, &["rows.csv:1:", "the file is empty", "column names"]);
    study.write("rows.csv", b"term,definition\n");
    refused(&study, &["run"], 2, &["no row is left", "0 rows read"]);
    study.write("rows.csv", b"term,definition\na,b\nc,d\n");
    refused(&study, &["run"], 2, &["2 rows remain"]);
}

#[test]
fn a_study_whose_data_was_wrong_can_be_corrected_and_run() {
    let study = TinyStudy::new().set("data.source", "row.csv").set("search.trials", 1).set("search.rungs", 1);
    refused(&study, &["fit"], 2, &["row.csv"]);
    let study = study.set("data.source", "rows.csv").set("space.precision", "f32");
    assert_eq!(study.run(&["fit", "--json"]).json()["frontier"][0]["precision"], "f32");
}

#[test]
fn a_new_model_that_was_corrected_before_the_study_began_is_made_again() {
    let sizes = |hidden: usize| {
        let new = format!(
            "new = {{ vocab_size = 280, hidden_size = {hidden}, intermediate_size = 32, num_hidden_layers = 1, \
             num_attention_heads = 2 }}"
        );
        new.parse::<toml::Table>().unwrap()
    };
    let study = TinyStudy::new().set("model", sizes(16)).set("search.max_micro_batch_size", 1);
    let rows = std::fs::read(study.path("rows.csv")).unwrap();
    study.write("rows.csv", b"term,definition\na,b\nc,d\n");
    refused(&study, &["fit"], 2, &["2 rows remain"]);
    study.write("rows.csv", &rows);
    let study = study.set("model", sizes(32));
    study.run(&["fit", "--json"]).json();
    let config = std::fs::read_to_string(study.path("results/base/config.json")).unwrap();
    assert!(config.contains("\"hidden_size\": 32"), "{config}");
}
