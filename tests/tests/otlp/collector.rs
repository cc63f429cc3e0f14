//! An OpenTelemetry collector that keeps the spans and metrics that it receives.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, HOST, HeaderValue};
use axum::routing::post;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{MetricExporter, Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric::Data, number_data_point};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prost::Message;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;

#[derive(Clone)]
pub struct Collector {
    address: String,
    received: Arc<Mutex<Received>>,
}

#[derive(Default)]
struct Received {
    spans: Vec<Span>,
    metrics: Vec<Metric>,
}

impl Collector {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let collector = Collector { address, received: Arc::default() };
        let routes = Router::new().route("/v1/traces", post(traces)).route("/v1/metrics", post(metrics));
        let routes = routes.with_state(collector.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        collector
    }

    pub fn spans_exporter(&self) -> SpanExporter {
        let exporter = SpanExporter::builder().with_http().with_http_client(Client(Handle::current()));
        let exporter = exporter.with_protocol(Protocol::HttpBinary);
        exporter.with_endpoint(format!("{}/v1/traces", self.address)).build().unwrap()
    }

    pub fn meter_provider(&self) -> SdkMeterProvider {
        let exporter = MetricExporter::builder().with_http().with_http_client(Client(Handle::current()));
        let exporter = exporter.with_protocol(Protocol::HttpBinary);
        let exporter = exporter.with_endpoint(format!("{}/v1/metrics", self.address)).build().unwrap();
        SdkMeterProvider::builder().with_periodic_exporter(exporter).build()
    }

    pub fn spans(&self) -> Vec<Span> {
        self.received.lock().unwrap().spans.clone()
    }

    /// The latest metric with this name; a metric without points if there is none.
    pub fn latest(&self, name: &str) -> Metric {
        let received = self.received.lock().unwrap();
        received.metrics.iter().rfind(|metric| metric.name == name).cloned().unwrap_or_default()
    }
}

async fn traces(State(collector): State<Collector>, body: Bytes) {
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
    collector.received.lock().unwrap().spans.extend(scopes.flat_map(|scope| scope.spans));
}

async fn metrics(State(collector): State<Collector>, body: Bytes) {
    let request = ExportMetricsServiceRequest::decode(body).unwrap();
    let scopes = request.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
    collector.received.lock().unwrap().metrics.extend(scopes.flat_map(|scope| scope.metrics));
}

pub fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        other => Some(format!("{other:?}")),
    }
}

/// The sum of the points with these attributes; for a histogram, the sum of their counts.
pub fn sums(metric: &Metric, attributes: &[(&str, &str)]) -> f64 {
    let fits = |of: &[KeyValue]| attributes.iter().all(|(key, value)| text(of, key).as_deref() == Some(value));
    let points = match &metric.data {
        Some(Data::Sum(sum)) => &sum.data_points,
        Some(Data::Gauge(gauge)) => &gauge.data_points,
        Some(Data::Histogram(histogram)) => {
            let points = histogram.data_points.iter().filter(|point| fits(&point.attributes));
            return points.map(|point| point.count as f64).sum();
        }
        _ => return 0.0,
    };
    let value = |value: &Option<number_data_point::Value>| match value {
        Some(number_data_point::Value::AsInt(value)) => *value as f64,
        Some(number_data_point::Value::AsDouble(value)) => *value,
        None => 0.0,
    };
    points.iter().filter(|point| fits(&point.attributes)).map(|point| value(&point.value)).sum()
}

/// Sends exports on a given runtime, whichever thread exports.
#[derive(Debug)]
struct Client(Handle);

impl HttpClient for Client {
    fn send_bytes<'client, 'future>(
        &'client self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'future>>
    where
        'client: 'future,
        Self: 'future,
    {
        let sent = self.0.spawn(send(request));
        Box::pin(async move { sent.await? })
    }
}

async fn send(mut request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    assert_eq!(request.headers()[CONTENT_TYPE], "application/x-protobuf");
    let host = request.uri().authority().ok_or("no host")?.to_string();
    let (mut sender, connection) = handshake(TokioIo::new(TcpStream::connect(&host).await?)).await?;
    tokio::spawn(connection);
    request.headers_mut().insert(HOST, HeaderValue::from_str(&host)?);
    *request.uri_mut() = request.uri().path().parse()?;
    let (head, body) = sender.send_request(request.map(Full::new)).await?.into_parts();
    Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
}
