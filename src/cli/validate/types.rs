//! Instance types that nobody has heard of. EC2 gets new types each month, so an unknown one is a warning and no error.

use muster_reconciler::manifest::RunnerPool;

use crate::cli::pasted::nearest;

/// The first line has the day and the source. Each line below has a family and its sizes. `tests/instance_types.py` writes it.
const KNOWN: &str = include_str!("instance-types.txt");

/// The day of the list and its source.
fn source() -> &'static str {
    KNOWN.lines().next().unwrap_or_default()
}

/// Each family with its sizes.
fn families() -> impl Iterator<Item = (&'static str, impl Iterator<Item = &'static str> + Clone)> {
    KNOWN.lines().skip(1).filter_map(|line| line.split_once(' ')).map(|(family, sizes)| (family, sizes.split(' ')))
}

/// One warning for each instance type of the pool that the list does not have, with the nearest name that it has.
pub(super) fn unknown(pool: &RunnerPool) -> Vec<String> {
    pool.spec.instance.types.iter().filter_map(|name| warning(name)).collect()
}

fn warning(name: &str) -> Option<String> {
    let (family, size) = name.split_once('.')?;
    let of_family = families().find(|(known, _)| *known == family);
    if of_family.clone().is_some_and(|(_, mut sizes)| sizes.any(|known| known == size)) {
        return None;
    }
    // In a known family, the size is wrong.
    let known = of_family.is_some();
    let names = families().filter(|(other, _)| !known || *other == family);
    let names: Vec<String> = names.flat_map(|(family, sizes)| sizes.map(move |size| format!("{family}.{size}"))).collect();
    let near = nearest(name, names.iter().map(String::as_str)).first().map(|name| (*name).to_owned());
    let meant = near.map_or_else(String::new, |name| format!("; did you mean {name}?"));
    Some(format!(
        "spec.instance.types: {name} is not among the instance types that muster knows (of {}){meant}{} `muster doctor` asks EC2",
        source(),
        if meant.is_empty() { ";" } else { "" }
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_told_with_the_nearest_name_and_every_known_type_passes() {
        let meant = |name: &str| {
            let said = warning(name).unwrap_or_default();
            said.split_once("did you mean ").map(|(_, rest)| rest.split('?').next().unwrap_or_default().to_owned())
        };
        for (slip, wanted) in [
            ("m7i.lrage", "m7i.large"),
            ("m7i.xxlarge", "m7i.xlarge"),
            ("c7gn.16xlagre", "c7gn.16xlarge"),
            ("m7ii.large", "m7i.large"),
            ("c6i-n.2xlarge", "c6in.2xlarge"),
        ] {
            assert_eq!(meant(slip).as_deref(), Some(wanted), "{slip}: {:?}", warning(slip));
        }
        assert_eq!((meant("zz99.huge"), warning("zz99.huge").is_some()), (None, true));
        assert!(warning("zz99.huge").is_some_and(|said| said.contains("; `muster doctor` asks EC2")));
        let known: Vec<String> =
            families().flat_map(|(family, sizes)| sizes.map(move |size| format!("{family}.{size}"))).collect();
        assert!(known.len() > 1000 && known.iter().all(|name| warning(name).is_none()), "{}", known.len());
        assert!(source().starts_with("20") && source().contains(", botocore "), "{}", source());
    }
}
