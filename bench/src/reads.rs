//! What reading the whole state of a large master costs it, and how long that holds up its loop.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use coordination::LeaderAddress;
use sdk::http::{Ask, Http};
use wire::v1;

use crate::figures::{Figures, millis, percentile};
use crate::pauses::{Pauses, Span};

const READS: usize = 5;

/// The longest turn of a master's loop lately.
#[derive(Clone, Copy, Default)]
struct Turn {
    /// In ms.
    took: f64,
    /// Of it, on a processor.
    ran: f64,
    /// When it was.
    span: Span,
    /// How far that looks back.
    window: Duration,
}

/// Reads the whole state in each of its forms, while the master's loop goes on. What it did until `since` doesn't count.
pub async fn read_state(figures: &mut Figures, port: u16, since: Instant) -> Result<()> {
    let to: LeaderAddress = format!("127.0.0.1:{port}").parse()?;
    let http = Http::new();
    while longest_turn(&http, &to).await?.window >= since.elapsed() {
        // For two minutes at most.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let get_state = |media: wire::media::Media, content_type: &'static str| {
        let call =
            v1::master::Call { r#type: Some(v1::master::call::Type::GetState.into()), ..Default::default() };
        Ask::post("/api/v1", content_type, wire::media::encode_message(media, &call))
            .header(http::header::ACCEPT, content_type)
    };
    let forms = [
        ("/state", Ask::get("/state")),
        ("GET_STATE in JSON", get_state(wire::media::Media::Json, "application/json")),
        ("GET_STATE in protobuf", get_state(wire::media::Media::Protobuf, "application/x-protobuf")),
    ];
    let (pauses, mut longest) = (Pauses::watch(), Turn::default());
    for (name, ask) in forms {
        let ask = Ask { limit: 1 << 30, timeout: Duration::from_secs(120), ..ask };
        let (mut times, mut size) = (Vec::new(), 0);
        for _ in 0..READS {
            let started = Instant::now();
            let reply = http.ask(&to, &ask).await?;
            ensure!(reply.status.is_success(), "{name}: {}", reply.message());
            times.push(started.elapsed());
            size = reply.body.len();
        }
        let text = format!("{} ({} MB)", millis(percentile(&times, 50)), size >> 20);
        figures.note(&format!("{name} of 10,000 agents and 100,000 tasks"), &text);
        let turn = longest_turn(&http, &to).await?;
        longest = if turn.took > longest.took { turn } else { longest };
    }
    figures.at_most("longest hold-up of the master's loop meanwhile", longest.took, " ms", 5.0);
    figures.note("of it on a processor", &format!("{:.2} ms", longest.ran));
    figures.note("of it the machine stood still", &millis(pauses.within(longest.span)));
    figures.note("longest time for which the machine stood still meanwhile", &millis(pauses.longest()));
    Ok(())
}

async fn longest_turn(http: &Http, to: &LeaderAddress) -> Result<Turn> {
    let metrics = http.ask(to, &Ask::get("/metrics/snapshot")).await?;
    let metrics: serde_json::Value = serde_json::from_slice(&metrics.body)?;
    let of = |key: &str| metrics[key].as_f64().with_context(|| format!("the master tells no {key}"));
    let (took, ran) = (of("tepui/loop/longest_ms")?, of("tepui/loop/longest_ran_ms")?);
    let ended = Duration::try_from_secs_f64(of("tepui/loop/longest_at_secs")?)?;
    let span = (ended.saturating_sub(Duration::try_from_secs_f64(took / 1e3)?), ended);
    let window = Duration::try_from_secs_f64(of("tepui/loop/longest_window_secs")?)?;
    Ok(Turn { took, ran, span, window })
}
