//! Query parameters, read as Kubernetes reads them. Unknown ones are ignored.

use axum::extract::Query as Decoder;
use http::{Method, Uri};

use crate::status::Status;

/// The parameters of a request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query(Vec<(String, String)>);

/// More parameters than any client sends: each word of a command is one.
const COUNT_LIMIT: usize = 1024;
/// Bytes of a field manager's name.
const MANAGER_LIMIT: usize = 128;

impl Query {
    /// Reads the parameters of a URL.
    pub(crate) fn of(uri: &Uri) -> Result<Query, Status> {
        let Decoder(pairs) = Decoder::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|error| Status::bad_request(format!("the query cannot be read: {error}")))?;
        if pairs.len() > COUNT_LIMIT {
            return Err(Status::bad_request(format!("more than {COUNT_LIMIT} query parameters")));
        }
        Ok(Query(pairs))
    }

    /// A parameter's first value; none when absent or empty.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.raw(name).filter(|value| !value.is_empty())
    }

    fn raw(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// All values of a parameter.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A switch: anything but absent, `0` and `false` is on, also the bare name.
    pub(crate) fn switch(&self, name: &str) -> bool {
        self.raw(name).is_some_and(|value| value != "0" && !value.eq_ignore_ascii_case("false"))
    }

    /// A whole number.
    pub(crate) fn number(&self, name: &str) -> Result<Option<i64>, Status> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let number = text.parse().map_err(|_| {
            Status::bad_request(format!(
                "strconv.ParseInt: parsing {text:?}: invalid syntax (query parameter {name})"
            ))
        })?;
        Ok(Some(number))
    }

    /// Whether this write only asks what would be. `options` is the kind of its options, see [`options_of`].
    pub(crate) fn dry_run(&self, options: &str) -> Result<bool, Status> {
        dry_run(self.all("dryRun"), options)
    }

    /// Refuses a name of a field manager that could not be stored.
    pub(crate) fn check_field_manager(&self, options: &str) -> Result<(), Status> {
        const FIELD: &str = "fieldManager";
        let Some(manager) = self.text(FIELD) else { return Ok(()) };
        if manager.len() > MANAGER_LIMIT {
            let message = format!("Too long: may not be more than {MANAGER_LIMIT} bytes");
            return Err(Status::invalid_option(options, FIELD, "FieldValueTooLong", message));
        }
        let unprintable = |(_, c): &(usize, char)| c.is_control() || (c.is_whitespace() && *c != ' ');
        if let Some((at, c)) = manager.char_indices().find(unprintable) {
            let code = u32::from(c);
            let message =
                format!("Invalid value: {manager:?}: invalid character U+{code:04X} (at position {at})");
            return Err(Status::invalid_option(options, FIELD, "FieldValueInvalid", message));
        }
        Ok(())
    }
}

/// The kind of the options of a writing request, as refusals name it.
pub(crate) fn options_of(method: &Method) -> &'static str {
    match *method {
        Method::POST => "CreateOptions",
        Method::PUT => "UpdateOptions",
        Method::PATCH => "PatchOptions",
        _ => "DeleteOptions",
    }
}

/// Whether a list of dry-run stages asks for a dry run.
pub(crate) fn dry_run<'a>(stages: impl Iterator<Item = &'a str>, options: &str) -> Result<bool, Status> {
    let mut asked = false;
    for stage in stages.filter(|stage| !stage.is_empty()) {
        if stage != "All" {
            let message = format!("Unsupported value: {stage:?}: supported values: \"All\"");
            return Err(Status::invalid_option(options, "dryRun", "FieldValueNotSupported", message));
        }
        asked = true;
    }
    Ok(asked)
}

/// A resourceVersion as a number; none when unset.
pub(crate) fn revision(text: Option<&str>) -> Result<Option<u64>, Status> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let number = text.parse().map_err(|_| {
        let detail = format!("Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax");
        Status::bad_request(format!("resourceVersion: {detail}")).caused(
            "FieldValueInvalid",
            "resourceVersion",
            detail,
        )
    })?;
    Ok(Some(number))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn switches_are_on_unless_told_otherwise() {
        let query = Query::of(&"/x?watch&follow=True&a=0&b=False&c=&d=1".parse().unwrap()).unwrap();
        for (name, on) in [
            ("watch", true),
            ("follow", true),
            ("a", false),
            ("b", false),
            ("c", true),
            ("d", true),
            ("e", false),
        ] {
            assert_eq!(query.switch(name), on, "{name}");
        }
        assert_eq!(query.number("d").unwrap(), Some(1));
        assert_eq!(
            Query::of(&"/x?limit=ten".parse().unwrap()).unwrap().number("limit").unwrap_err().code,
            400
        );
    }
}
