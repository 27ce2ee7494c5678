//! The rounds of a question as an SVG.

use std::path::Path;

use anyhow::anyhow;
use plotters::prelude::*;

use super::{Figure, Outcome, page};

const SIZE: (u32, u32) = (720, 300);
const COLOURS: [RGBColor; 2] = [RGBColor(31, 119, 180), RGBColor(214, 119, 39)];

/// Draws every round of every side, the goal, and the limit where it is in sight.
pub(super) fn draw(outcome: &Outcome, file: &Path) -> anyhow::Result<()> {
    let mut svg = String::new();
    paint(outcome, &mut svg).map_err(|error| anyhow!("drawing {}: {error}", file.display()))?;
    std::fs::write(file, svg)?;
    Ok(())
}

fn paint(outcome: &Outcome, svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let rounds = outcome.sides.iter().map(|side| side.rounds.len()).max().unwrap_or(0).max(1);
    let figures = outcome.sides.iter().flat_map(|side| side.figures(outcome.figure));
    let highest = figures.chain(outcome.wanted()).fold(0.0, f64::max) * 1.15;
    let last = rounds as f64 + 0.5;
    let unit = match outcome.figure {
        Figure::P50 => "ms, less is better",
        Figure::PerSecond => "per second, more is better",
    };
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(&outcome.what, ("sans-serif", 16))
        .margin(10)
        .x_label_area_size(35)
        .y_label_area_size(70)
        .build_cartesian_2d(0.5..last, 0.0..highest)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(rounds)
        .x_label_formatter(&|round| if round.fract() == 0.0 { format!("{round:.0}") } else { String::new() })
        .y_label_formatter(&|value| page::number(*value))
        .x_desc("round")
        .y_desc(unit)
        .draw()?;
    for (side, colour) in outcome.sides.iter().zip(COLOURS) {
        let at = side.figures(outcome.figure);
        let points: Vec<(f64, f64)> = (1..).map(f64::from).zip(at).collect();
        chart
            .draw_series(LineSeries::new(points.clone(), &colour))?
            .label(side.name.clone())
            .legend(move |(x, y)| Circle::new((x + 10, y), 4, colour.filled()));
        chart.draw_series(points.into_iter().map(|point| Circle::new(point, 4, colour.filled())))?;
    }
    let lines = [("goal", outcome.wanted(), GREEN), ("limit", Some(outcome.limit.value), RED)];
    for (name, value, colour) in lines {
        let Some(value) = value.filter(|value| (0.0..highest).contains(value)) else { continue };
        let line = [(0.5, value), (last, value)];
        chart
            .draw_series(LineSeries::new(line, &colour))?
            .label(format!("{name}: {}", page::number(value)))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    area.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::report::{Goal, tests::outcome};

    #[test]
    fn every_round_is_drawn() {
        let goal = Goal::TimesAtMost { goal: 1.2, aim: None };
        let seen = outcome(Figure::P50, goal, &[1.0, 2.0, 3.0], Some(&[1.0, 1.0, 1.0]));
        let mut svg = String::new();
        paint(&seen, &mut svg).unwrap();
        // Two more are in the legend.
        assert_eq!(svg.matches("<circle").count(), 8, "{svg}");
        assert!(
            svg.contains("etcd 3") && svg.contains("goal: 1.20") && svg.contains("limit: 0.500"),
            "{svg}"
        );
    }
}
