//! Arguments, results and errors of all kinds.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use workflow_runtime::{Error, Failure, Result, step, workflow};

use super::steps::add;
use super::{Program, program};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Shape {
    Circle { radius: f64 },
    Square(f64),
    Nothing,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Order<T> {
    id: u64,
    items: Vec<T>,
    note: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub enum Refused {
    Stolen,
    Other(String),
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Refused::Other(error.to_string())
    }
}

impl Failure for Refused {
    fn is_fatal(&self) -> bool {
        matches!(self, Refused::Stolen)
    }
}

#[step]
async fn area(shape: Shape) -> Result<f64> {
    Ok(match shape {
        Shape::Circle { radius } => radius * radius * 3.0,
        Shape::Square(side) => side * side,
        Shape::Nothing => 0.0,
    })
}

#[workflow]
pub async fn enums() -> Result<f64> {
    Ok(area(Shape::Circle { radius: 2.0 }).await? + area(Shape::Square(1.5)).await? + area(Shape::Nothing).await?)
}

#[workflow]
pub async fn generic_struct(order: Order<(String, u8)>) -> Result<Order<u8>> {
    Ok(Order { id: order.id + 1, items: order.items.into_iter().map(|(_, n)| n).collect(), note: None })
}

#[step]
async fn withdraw(_card: String) -> Result<u32, Refused> {
    Err(Refused::Stolen)
}

#[workflow]
pub async fn typed_errors() -> Result<u32, Refused> {
    withdraw("1234".to_owned()).await
}

#[workflow]
pub async fn typed_and_plain_errors() -> Result<String> {
    let refused = withdraw("1234".to_owned()).await.unwrap_err();
    Ok(format!("{refused}"))
}

type Outcome<T> = std::result::Result<T, Error>;

#[workflow]
pub async fn alias_of_result() -> Outcome<BTreeMap<String, Vec<Option<i64>>>> {
    Ok(BTreeMap::from([("a".to_owned(), vec![Some(add(1, 2).await?), None])]))
}

#[workflow]
#[allow(clippy::too_many_arguments)]
pub async fn twelve(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8, i: u8, j: u8, k: u8, l: u8) -> Result<u8> {
    Ok(a + b + c + d + e + f + g + h + i + j + k + l)
}

#[workflow]
pub async fn argument_names(args: i64, resources: i64, body: i64, v1: i64, r#type: i64, _: i64) -> Result<i64> {
    add(args + resources, body + v1 + r#type).await
}

#[workflow]
pub async fn unit_and_tuple(_unit: (), pair: (i64, (bool, char))) -> Result<(char, Duration)> {
    let (n, (_, c)) = pair;
    Ok((c, Duration::from_secs(add(n, 1).await? as u64)))
}

#[workflow]
pub async fn r#loop(r#match: i64) -> Result<i64> {
    add(r#match, 1).await
}

pub const PROGRAMS: &[Program] = &[
    program!(enums, (), 14.25),
    program!(
        generic_struct,
        Order { id: 1, items: vec![("a".to_owned(), 7)], note: Some("x".to_owned()) },
        {"id": 2, "items": [7], "note": null}
    ),
    program!(typed_errors, (), {"error": "Stolen"}),
    program!(typed_and_plain_errors, (), "Stolen"),
    program!(alias_of_result, (), {"a": [3, null]}),
    program!(twelve, (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12), 78),
    program!(argument_names, (1, 2, 3, 4, 5, 6), 15),
    program!(unit_and_tuple, ((), (1, (true, 'x'))), ["x", {"secs": 2, "nanos": 0}]),
    program!(r#loop, 1, 2),
];
