//! What is told of this build. It is the same for the same source: the only time in it is the one that the builder
//! declares by `SOURCE_DATE_EPOCH`.

use wire::v1;

/// The version told to clients, masters and agents: that of Mesos whose API and behaviour this is. Clients compare it
/// with the least one they need, and a master of Mesos' refuses agents below 1.0.0; our own number would tell them wrong.
pub const VERSION: &str = "1.12.0";

/// Our own release, told where Mesos tells its git tag.
pub const RELEASE: &str = concat!("tepui-", env!("CARGO_PKG_VERSION"));

/// Seconds since the epoch; zero when the builder declared nothing.
fn built() -> u32 {
    option_env!("SOURCE_DATE_EPOCH").and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// As Mesos writes it: `2026-11-20 16:00:00`.
fn date(seconds: u32) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Years of 365.2425 days from March on, in eras of 400 years.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u32::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60)
}

/// The message of GET_VERSION, which also says what `/version` shows.
pub fn info() -> v1::VersionInfo {
    v1::VersionInfo {
        version: VERSION.to_owned(),
        build_date: Some(date(built())),
        build_time: Some(built().into()),
        // Who built it is nobody's business; Mesos' clients expect the field.
        build_user: Some(String::new()),
        git_sha: None,
        git_branch: None,
        git_tag: Some(RELEASE.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_399, "2000-02-28 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (951_868_800, "2000-03-01 00:00:00"),
            (1_000_000_000, "2001-09-09 01:46:40"),
            (u32::MAX, "2106-02-07 06:28:15"),
        ] {
            assert_eq!(date(seconds), text);
        }
    }

    #[test]
    fn the_version_is_one_that_clients_of_mesos_can_compare() {
        let parts: Vec<u32> = VERSION.split('.').map(|part| part.parse().unwrap()).collect();
        assert!(parts.len() == 3 && parts[0] >= 1);
        assert!(info().git_tag().starts_with("tepui-"));
    }
}
