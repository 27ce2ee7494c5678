//! How each figure grows with the cluster, beside what would be linear.

use std::path::Path;

use anyhow::anyhow;
use plotters::prelude::*;

use super::rows::{Row, Sizes};
use crate::report::number;

const SIZE: (u32, u32) = (900, 900);
const COLUMNS: usize = 3;

/// Draws every figure that was measured at more than one size.
pub(super) fn draw(sizes: &Sizes, file: &Path) -> anyhow::Result<()> {
    let mut svg = String::new();
    paint(sizes, &mut svg).map_err(|error| anyhow!("drawing {}: {error}", file.display()))?;
    std::fs::write(file, svg)?;
    Ok(())
}

fn paint(sizes: &Sizes, svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let points = |row: Row| -> Vec<(f64, f64)> {
        let of = |size: &super::rows::Size| Some((size.nodes as f64, *size.figures.get(&row)?));
        sizes.sizes.iter().filter_map(of).collect()
    };
    let rows: Vec<(Row, Vec<(f64, f64)>)> =
        Row::ALL.into_iter().map(|row| (row, points(row))).filter(|(_, points)| points.len() > 1).collect();
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let parts = area.split_evenly((rows.len().div_ceil(COLUMNS).max(1), COLUMNS));
    for ((row, points), part) in rows.iter().zip(parts) {
        let (nodes, highest) =
            points.iter().fold((0.0_f64, 0.0_f64), |(x, y), at| (x.max(at.0), y.max(at.1)));
        let mut chart = ChartBuilder::on(&part)
            .caption(format!("{} ({})", short(*row), row.unit()), ("sans-serif", 13))
            .margin(8)
            .x_label_area_size(22)
            .y_label_area_size(45)
            .build_cartesian_2d(0.0..nodes * 1.05, 0.0..(highest * 1.15).max(f64::MIN_POSITIVE))?;
        chart
            .configure_mesh()
            .disable_mesh()
            .x_labels(3)
            .y_labels(4)
            .x_label_formatter(&|value| number(*value))
            .y_label_formatter(&|value| number(*value))
            .draw()?;
        if let Some((first, value)) = points.first() {
            let linear = [(0.0, 0.0), (nodes, value / first * nodes)];
            chart.draw_series(LineSeries::new(linear, BLACK.mix(0.3)))?;
        }
        let blue = RGBColor(31, 119, 180);
        chart.draw_series(LineSeries::new(points.clone(), &blue))?;
        chart.draw_series(points.iter().map(|at| Circle::new(*at, 4, blue.filled())))?;
    }
    area.present()?;
    Ok(())
}

fn short(row: Row) -> &'static str {
    row.what().split([':', ',']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{large::rows::Size, report::Setting};

    #[test]
    fn what_was_measured_twice_is_drawn() {
        let mut sizes = Sizes { setting: Setting::begin(""), sizes: Vec::new() };
        for (nodes, seconds) in [(500, 0.2), (1500, 0.6), (5000, 1.5)] {
            let mut size = Size { nodes, pods: nodes, ..Size::default() };
            size.add(Row::List, seconds);
            sizes.sizes.push(size);
        }
        sizes.sizes[0].add(Row::Zone, 1.0);
        let mut svg = String::new();
        paint(&sizes, &mut svg).unwrap();
        assert_eq!(svg.matches("<circle").count(), 3, "{svg}");
        assert!(svg.contains("LIST of all pods") && !svg.contains("zone"), "{svg}");
    }
}
