//! LimitRanges and ResourceQuotas.

use serde_json::{Value, json};

use super::{Behaviour, Column, Strategy, age, fields::text};

const MISSING: Behaviour = Behaviour::Data("LimitRanges and ResourceQuotas are stored, but not enforced yet");

/// The strategy of limit ranges.
pub static LIMIT_RANGE: Strategy = Strategy {
    columns: &[Column::text("Created At")],
    cells: |range, _| vec![range["metadata"]["creationTimestamp"].clone()],
    create_on_update: true,
    behaviour: MISSING,
    ..Strategy::PASSIVE
};

/// The strategy of resource quotas.
pub static RESOURCE_QUOTA: Strategy = Strategy {
    prepare_create: |quota| quota["status"] = json!({}),
    columns: &[Column::text("Request"), Column::text("Limit"), Column::text("Age")],
    cells: |quota, now| {
        let (hard, used) = (&quota["status"]["hard"], &quota["status"]["used"]);
        let shown = |limits: bool| {
            let of_kind = |(key, _): &(&String, &Value)| key.starts_with("limits.") == limits;
            let all = hard.as_object().into_iter().flatten().filter(of_kind);
            let texts = all.map(|(key, _)| {
                let used = if used[key].is_null() { "0" } else { text(used, key) };
                format!("{key}: {used}/{}", text(hard, key))
            });
            texts.collect::<Vec<_>>().join(", ")
        };
        vec![shown(false).into(), shown(true).into(), age(quota, now)]
    },
    status: true,
    returns_deleted: true,
    behaviour: MISSING,
    ..Strategy::PASSIVE
};
