//! Latencies as SVG: the share of operations that took at most so long, both servers in one
//! picture, time on a logarithmic scale.

use std::{fmt::Write as _, fs, path::Path};

use super::results::{Measured, QUANTILES, Results};

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 50.0;
const BOTTOM: f64 = 40.0;
const TOP: f64 = 30.0;
const RIGHT: f64 = 20.0;
/// Blue and vermilion of a palette that the colour-blind can tell apart.
const COLOURS: [&str; 2] = ["#0072b2", "#d55e00"];

pub(super) fn write_all(results: &Results, directory: &Path) -> anyhow::Result<()> {
    let names: Vec<&str> = results.servers.iter().map(|server| server.name.as_str()).collect();
    for scenario in &results.scenarios {
        if let Some(picture) = latencies(scenario, &names) {
            fs::write(directory.join(format!("{}.svg", scenario.name)), picture)?;
        }
    }
    Ok(())
}

/// Nothing where no latency was taken.
fn latencies(scenario: &Measured, names: &[&str]) -> Option<String> {
    let curves: Vec<Vec<f64>> = (0..names.len()).map(|server| scenario.latencies(server)).collect();
    let all = || curves.iter().flatten().copied().filter(|value| *value > 0.0);
    let least = all().reduce(f64::min)?.log10().floor();
    let most = all().reduce(f64::max)?.log10().ceil().max(least + 1.0);
    let x = |value: f64| {
        let share = (value.max(1e-6).log10() - least) / (most - least);
        LEFT + share.clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
    };
    let y = |quantile: f64| HEIGHT - BOTTOM - quantile * (HEIGHT - BOTTOM - TOP);
    let mut picture = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"16\">{}</text>\n",
        escape(&scenario.what)
    );
    for decade in least as i32..=most as i32 {
        let (value, at) = (10_f64.powi(decade), x(10_f64.powi(decade)));
        line(&mut picture, (at, y(0.0)), (at, y(1.0)));
        text(&mut picture, (at - 10.0, HEIGHT - BOTTOM + 16.0), &format!("{value} ms"));
    }
    for quantile in [0.0, 0.5, 0.9, 1.0] {
        line(&mut picture, (LEFT, y(quantile)), (WIDTH - RIGHT, y(quantile)));
        text(&mut picture, (10.0, y(quantile) + 4.0), &format!("{:.0} %", quantile * 100.0));
    }
    for (number, (curve, name)) in curves.iter().zip(names).enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let points: Vec<String> = curve
            .iter()
            .zip(QUANTILES)
            .map(|(value, quantile)| format!("{:.1},{:.1}", x(*value), y(quantile)))
            .collect();
        let points = points.join(" ");
        let _ = writeln!(
            picture,
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <text x=\"{}\" y=\"{}\" fill=\"{colour}\">{}</text>",
            LEFT + 8.0 + 90.0 * number as f64,
            HEIGHT - 8.0,
            escape(name)
        );
    }
    picture.push_str("</svg>\n");
    Some(picture)
}

fn line(picture: &mut String, from: (f64, f64), to: (f64, f64)) {
    let _ = writeln!(
        picture,
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"#ddd\"/>",
        from.0, from.1, to.0, to.1
    );
}

fn text(picture: &mut String, at: (f64, f64), text: &str) {
    let _ = writeln!(picture, "<text x=\"{:.1}\" y=\"{:.1}\">{}</text>", at.0, at.1, escape(text));
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::results::Figures;

    fn figures(latency_ms: Vec<f64>) -> Figures {
        Figures { operations: 9, per_second: 1.0, cpu_us: 1.0, missed: 0, latency_ms }
    }

    #[test]
    fn the_slower_server_is_further_to_the_right() {
        let mut scenario = Measured::new("send", "a send & more".to_owned());
        let slow = (1..=9).map(|value| f64::from(value) * 100.0).collect();
        let fast = (1..=9).map(f64::from).collect();
        scenario.rounds.push(vec![Some(figures(fast)), Some(figures(slow))]);
        let picture = latencies(&scenario, &["A", "B"]).expect("there are latencies");
        assert!(picture.contains("a send &amp; more"));
        let last: Vec<f64> = picture
            .lines()
            .filter_map(|line| line.strip_prefix("<polyline points=\""))
            .filter_map(|line| line.split('"').next()?.split(' ').next_back()?.split(',').next())
            .map(|x| x.parse().expect("a number"))
            .collect();
        assert!(last[0] < last[1], "{last:?}");
    }

    #[test]
    fn without_latencies_there_is_no_picture() {
        let mut scenario = Measured::new("presence", "presence".to_owned());
        scenario.rounds.push(vec![Some(figures(Vec::new()))]);
        assert!(latencies(&scenario, &["A"]).is_none());
    }
}
