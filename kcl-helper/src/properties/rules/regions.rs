//! The regions that the daemon's AWS SDK knows.

/// By `Region.regions()` of the AWS SDK 2.33.0, which the daemon 3.1.3 has.
const REGIONS: &[&str] = &[
    "af-south-1",
    "ap-east-1",
    "ap-east-2",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-south-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "aws-cn-global",
    "aws-global",
    "aws-iso-b-global",
    "aws-iso-e-global",
    "aws-iso-f-global",
    "aws-iso-global",
    "aws-us-gov-global",
    "ca-central-1",
    "ca-west-1",
    "cn-north-1",
    "cn-northwest-1",
    "eu-central-1",
    "eu-central-2",
    "eu-isoe-west-1",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "eusc-de-east-1",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "mx-central-1",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-gov-east-1",
    "us-gov-west-1",
    "us-iso-east-1",
    "us-iso-west-1",
    "us-isob-east-1",
    "us-isof-east-1",
    "us-isof-south-1",
    "us-west-1",
    "us-west-2",
];

/// Whether the SDK knows the region. A newer SDK knows more.
pub(crate) fn is_region(text: &str) -> bool {
    REGIONS.binary_search(&text).is_ok()
}

/// The regions that one can put a stream into.
pub(super) fn all() -> impl Iterator<Item = &'static str> {
    REGIONS.iter().copied().filter(|region| !region.ends_with("-global"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_sorted() {
        assert!(REGIONS.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn only_listed_regions_are_known() {
        assert!(is_region("us-east-1") && is_region("aws-cn-global"));
        assert!(!is_region("us-east-5") && !is_region("us-east-1a") && !is_region(""));
    }
}
