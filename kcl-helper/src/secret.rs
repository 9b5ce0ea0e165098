//! Decides what is secret, and shows it as `***`.
//!
//! A text that may contain a secret is a [`Masked`] from the moment it is read, so everything that prints it
//! prints `***`. A secret is recognized by the table of keys (`properties/secrets.rs`), by the name of what it
//! is assigned to, or by its form. In doubt it is masked: then the user has to look into the file, whereas a
//! secret in a log stays there.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt;
use std::ops::Range;

use serde::{Serialize, Serializer};

/// Replaces a secret, whatever its length.
pub(crate) const MASK: &str = "***";

/// A text with secrets, which `Display`, `Debug` and JSON hide.
#[derive(Clone, PartialEq, Eq, Default)]
pub(crate) struct Masked {
    text: String,
    /// In order and without overlaps, each with what is shown instead.
    masks: Vec<(Range<usize>, Cow<'static, str>)>,
}

impl Masked {
    /// Masks any text, such as a URL, a command line or the output of another program.
    pub(crate) fn of_text(text: impl Into<String>) -> Masked {
        let text = text.into();
        let secrets = in_text(&text);
        Masked::without(text, secrets)
    }

    /// Masks these parts of a text, which are in order and do not overlap.
    pub(crate) fn without(
        text: impl Into<String>,
        secrets: impl IntoIterator<Item = Range<usize>>,
    ) -> Masked {
        let masks = secrets.into_iter().map(|span| (span, MASK.into())).collect();
        Masked { text: text.into(), masks }
    }

    /// Returns the text with its secrets, to use it but never to show it.
    pub(crate) fn reveal(&self) -> &str {
        &self.text
    }

    /// Masks the words of a command.
    pub(crate) fn of_words(words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Vec<Masked> {
        let mut is_next_secret = false;
        let mut of_word = |word: &OsStr| {
            let text = word.to_string_lossy().into_owned();
            let name = text.trim_start_matches('-').split('=').next().unwrap_or_default();
            let value_start = text.find('=').map(|at| at + 1).filter(|_| is_secret_name(name));
            let all = std::mem::take(&mut is_next_secret).then_some(0).or(value_start);
            is_next_secret = takes_a_secret(&text);
            let masked = Masked::of_text(text);
            let span = all.map(|start| start..masked.text.len()).filter(|span| !span.is_empty());
            masked.and(span.map(|span| (span, MASK.to_owned())))
        };
        words.into_iter().map(|word| of_word(word.as_ref())).collect()
    }

    /// Prepends a text without secrets.
    pub(crate) fn after(&self, before: &str) -> Masked {
        let shift = |(span, shown): &(Range<usize>, Cow<'static, str>)| {
            (span.start + before.len()..span.end + before.len(), shown.clone())
        };
        let masks = self.masks.iter().map(shift).collect();
        Masked { text: format!("{before}{}", self.text), masks }
    }

    /// Masks further parts, each with what is shown instead.
    pub(crate) fn and(mut self, more: impl IntoIterator<Item = (Range<usize>, String)>) -> Masked {
        self.masks.extend(more.into_iter().map(|(span, shown)| (span, shown.into())));
        self.masks = merged(self.masks);
        self
    }

    /// Returns a part of the text.
    pub(crate) fn part(&self, part: Range<usize>) -> Masked {
        let text = self.text.get(part.clone()).unwrap_or_default().to_owned();
        let cut = |span: &Range<usize>| span.start.max(part.start)..span.end.min(part.end);
        let masks = self.masks.iter().map(|(span, shown)| (cut(span), shown.clone()));
        let masks = masks.filter(|(span, _)| span.start < span.end);
        let shifted =
            masks.map(|(span, shown)| (span.start - part.start..span.end - part.start, shown));
        Masked { masks: shifted.collect(), text }
    }

    /// Returns the masked parts, in order.
    pub(crate) fn masks(&self) -> impl Iterator<Item = Range<usize>> {
        self.masks.iter().map(|(span, _)| span.clone())
    }
}

/// Sorts masks. Overlapping ones become one `***`.
fn merged(
    mut masks: Vec<(Range<usize>, Cow<'static, str>)>,
) -> Vec<(Range<usize>, Cow<'static, str>)> {
    masks.sort_by_key(|(span, _)| span.start);
    let mut apart: Vec<(Range<usize>, Cow<'static, str>)> = Vec::with_capacity(masks.len());
    for (span, shown) in masks {
        match apart.last_mut().filter(|(last, _)| span.start < last.end) {
            Some((last, shown)) => {
                last.end = last.end.max(span.end);
                *shown = MASK.into();
            }
            None => apart.push((span, shown)),
        }
    }
    apart
}

impl fmt::Display for Masked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut at = 0;
        for (span, shown) in &self.masks {
            f.write_str(&self.text[at..span.start])?;
            f.write_str(shown)?;
            at = span.end;
        }
        f.write_str(&self.text[at..])
    }
}

impl fmt::Debug for Masked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string(), f)
    }
}

impl Serialize for Masked {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// Whether a text is too long and too random to be a name.
pub(crate) fn is_like_base64(text: &str) -> bool {
    const SHORTEST: usize = 40;
    let has = |is: fn(&u8) -> bool| text.as_bytes().iter().any(is);
    text.len() >= SHORTEST
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte))
        && has(u8::is_ascii_digit)
        && has(u8::is_ascii_uppercase)
        && has(u8::is_ascii_lowercase)
}

/// Whether a name is that of a secret: `dbPassword`, `API_KEY`, `x-auth-token`. Names that only begin like
/// one, such as `tokenizer`, are not, nor are those of locations and amounts, such as `tokenFile`,
/// `privateKeyPath` and `maxTokens`.
pub(crate) fn is_secret_name(name: &str) -> bool {
    const ANYWHERE: [&str; 6] =
        ["password", "passwd", "passphrase", "passcode", "secret", "credential"];
    const LAST: [&str; 6] = ["token", "pass", "pwd", "cookie", "authorization", "bearer"];
    const OTHER_THINGS: [&str; 26] = [
        "file",
        "path",
        "folder",
        "dir",
        "directory",
        "url",
        "uri",
        "endpoint",
        "location",
        "name",
        "arn",
        "type",
        "class",
        "provider",
        "count",
        "size",
        "length",
        "limit",
        "timeout",
        "ttl",
        "millis",
        "seconds",
        "enabled",
        "expiry",
        "version",
        "algorithm",
    ];
    // The last part of a dotted name says what it is.
    let words = words_of(name.rsplit('.').next().unwrap_or(name));
    let (Some(first), Some(last)) = (words.first(), words.last()) else { return false };
    let glued = words.concat();
    if last == "id" || OTHER_THINGS.contains(&last.as_str()) {
        return is_key(&glued);
    }
    let is_count = ["max", "min"].contains(&first.as_str());
    // A name may be in lower case without separators.
    let ends_as = |word: &str, names: &[&str]| {
        let word = word.strip_suffix('s').unwrap_or(word);
        let word = word.trim_end_matches(|char: char| char.is_ascii_digit());
        let is_other = ["bypass", "compass", "bypas", "compas"].contains(&word);
        !is_other && names.iter().any(|name| word.ends_with(name.strip_suffix('s').unwrap_or(name)))
    };
    words.iter().any(|word| ends_as(word, &ANYWHERE))
        || (ends_as(last, &LAST) && !is_count)
        || is_key(&glued)
}

/// Whether a name in lower case is that of a secret key or of its ID.
fn is_key(name: &str) -> bool {
    const KINDS: [&str; 9] = [
        "access",
        "account",
        "api",
        "auth",
        "encryption",
        "master",
        "private",
        "secret",
        "signing",
    ];
    let kind = name.strip_suffix("keyid").or_else(|| name.strip_suffix("key"));
    kind.is_some_and(|front| KINDS.iter().any(|kind| front.ends_with(kind)))
}

/// Splits a name into words in lower case: `dbPassword`, `DB_PASSWORD` and `db-password` have two.
fn words_of(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut last = ' ';
    for char in name.chars() {
        if !char.is_alphanumeric() {
            last = ' ';
            continue;
        }
        let begins = last == ' ' || (char.is_uppercase() && last.is_lowercase());
        match words.last_mut().filter(|_| !begins) {
            Some(word) => word.extend(char.to_lowercase()),
            None => words.push(char.to_lowercase().collect()),
        }
        last = char;
    }
    words
}

/// Finds the secrets of any text, in order and without overlaps: values of secret names, the user part of
/// URLs, IDs of access keys.
pub(crate) fn in_text(text: &str) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    values_of_names(text, &mut found);
    for word in words_in(text) {
        users(text, &word, &mut found);
        access_keys(text, &word, &mut found);
    }
    values_of_options(text, &mut found);
    found.sort_by_key(|span| span.start);
    let masks = found.into_iter().filter(|span| !span.is_empty()).map(|span| (span, MASK.into()));
    merged(masks.collect()).into_iter().map(|(span, _)| span).collect()
}

/// Finds the words of a text.
fn words_in(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    let words = text.split(|char: char| char.is_ascii_whitespace()).map(move |word| {
        let at = start;
        start += word.len() + 1;
        at..at + word.len()
    });
    words.filter(|word| !word.is_empty())
}

fn is_quote(byte: u8) -> bool {
    matches!(byte, b'"' | b'\'' | b'`')
}

/// Finds the X of `--token X`, `-password X`, `Bearer X`.
fn values_of_options(text: &str, found: &mut Vec<Range<usize>>) {
    let mut is_next_secret = false;
    for word in words_in(text) {
        if std::mem::take(&mut is_next_secret) {
            found.push(word);
            continue;
        }
        is_next_secret = takes_a_secret(&text[word]);
    }
}

/// Whether the next word is a secret.
fn takes_a_secret(word: &str) -> bool {
    let name = word.trim_start_matches('-');
    let is_option = name.len() < word.len() && name.bytes().all(is_of_name);
    word == "Bearer" || (is_option && is_secret_name(name))
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

/// Finds the X of `password=X`, `"password": "X"`, `Authorization: X`.
fn values_of_names(text: &str, found: &mut Vec<Range<usize>>) {
    const LONGEST_NAME: usize = 100;
    let bytes = text.as_bytes();
    let spaces =
        |from: usize| bytes[from..].iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    let mut end_of_last = 0;
    for at in memchr::memchr2_iter(b'=', b':', bytes) {
        if at < end_of_last {
            continue;
        }
        // The name is before it, perhaps in quotes or with a space between.
        let head = text[..at].trim_end_matches([' ', '\t']);
        let is_apart = head.len() < at;
        let name_end = head.strip_suffix(['"', '\'']).map_or(head.len(), str::len);
        let is_quoted = name_end < head.len();
        let before = bytes[..name_end].iter().rev();
        let length = before.take(LONGEST_NAME).take_while(|b| is_of_name(**b)).count();
        let start = name_end - length;
        let name = text[start..name_end].trim_start_matches(['-', '.']);
        if !is_secret_name(name) {
            continue;
        }
        let is_colon = bytes[at] == b':';
        let mut from = at + 1;
        if is_colon || is_apart {
            from += spaces(from);
        }
        // Not in `arn:aws:secretsmanager:…:secret:name` or `unexpected token: x`.
        if is_colon && !is_quoted && (from == at + 1 || name.eq_ignore_ascii_case("token")) {
            continue;
        }
        let begins_word = start == 0 || bytes[start - 1].is_ascii_whitespace();
        let rest = &bytes[from..];
        let is_end = |byte: &u8| match rest.first() {
            _ if name.eq_ignore_ascii_case("authorization") => *byte == b'\n',
            // `--password=X` ends with the word; in a URL or a list, more follows.
            _ if begins_word => byte.is_ascii_whitespace(),
            _ => byte.is_ascii_whitespace() || is_quote(*byte) || b"&;,|)}]>".contains(byte),
        };
        let (from, length) = match rest.first() {
            Some(quote) if is_quote(*quote) => {
                let inner = &rest[1..];
                (from + 1, memchr::memchr2(*quote, b'\n', inner).unwrap_or(inner.len()))
            }
            _ => (from, rest.iter().position(is_end).unwrap_or(rest.len())),
        };
        found.push(from..from + length);
        end_of_last = from + length;
    }
}

/// Finds `user:password` of `//user:password@`. Without the slashes it must have a password.
fn users(text: &str, word: &Range<usize>, found: &mut Vec<Range<usize>>) {
    let bytes = text.as_bytes();
    let Some(last_at) = text[word.clone()].rfind('@').map(|at| word.start + at) else { return };
    let mut from = word.start;
    let mut is_url = false;
    while let Some(slashes) = text[from..word.end].find("//").map(|at| from + at) {
        is_url = true;
        let start = slashes + 2;
        let length = bytes[start..word.end].iter().position(|byte| b"/?#".contains(byte));
        let end = length.map_or(word.end, |length| start + length);
        from = end;
        if let Some(at) = text[start..end].rfind('@') {
            found.push(start..start + at);
        } else if start < last_at && has_password(&text[start..end]) {
            // A slash in a password should be escaped, but not everybody does that.
            found.push(start..last_at);
            return;
        }
    }
    let start = text[word.start..last_at].rfind(['=', '"', '\'', ',', '|']);
    let start = start.map_or(word.start, |at| word.start + at + 1);
    let user = &text[start..last_at];
    // Such as the digest of an image, or an email address.
    let is_other = text[last_at..].starts_with("@sha256:")
        || ["arn:", "mailto:"].iter().any(|scheme| user.starts_with(scheme));
    let has_both =
        user.split_once(':').is_some_and(|(name, it)| !name.is_empty() && !it.is_empty());
    if !is_url && !is_other && has_both {
        found.push(start..last_at);
    }
}

/// Whether the text after the colon is not a port.
fn has_password(user: &str) -> bool {
    let is_port = |text: &str| text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    user.split_once(':').is_some_and(|(_, password)| !is_port(password))
}

/// Finds the IDs of AWS access keys, which often occur next to their secrets.
fn access_keys(text: &str, word: &Range<usize>, found: &mut Vec<Range<usize>>) {
    let mut start = word.start;
    for part in text[word.clone()].split(|c: char| !c.is_ascii_alphanumeric()) {
        if is_access_key(part) {
            found.push(start..start + part.len());
        }
        // The separator may be longer than a byte.
        let end = start + part.len();
        start = end + text[end..].chars().next().map_or(0, char::len_utf8);
    }
}

fn is_access_key(text: &str) -> bool {
    text.len() == 20
        && ["AKIA", "ASIA"].iter().any(|prefix| text.starts_with(prefix))
        && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn secret_names_are_recognized() {
        for name in [
            "password",
            "dbPassword",
            "DB_PASSWORD",
            "db-password",
            "dbpassword",
            "password2",
            "passwordOld",
            "PGPASSWORD",
            "DBPASS",
            "user_pass",
            "passphrase",
            "pwd",
            "secret",
            "clientSecret",
            "secretValue",
            "aws_secret_access_key",
            "awsSecretKey",
            "AWS_ACCESS_KEY_ID",
            "accessKey",
            "apiKey",
            "API_KEY",
            "x-api-key",
            "privateKey",
            "token",
            "authToken",
            "x-auth-token",
            "accesstoken",
            "TOKEN",
            "credentials",
            "Authorization",
            "Cookie",
            "javax.net.ssl.keyStorePassword",
            "my.app.token",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in [
            "",
            "tokenizer",
            "tokenBucketRate",
            "maxTokens",
            "tokenFile",
            "passwordFile",
            "privateKeyPath",
            "secretName",
            "secretArn",
            "secretId",
            "tokenUrl",
            "tokenTtlMillis",
            "partitionKey",
            "primaryKey",
            "key",
            "monkey",
            "bypass",
            "compass",
            "passenger",
            "secretary",
            "publicKey",
            "streamName",
            "author",
            "AwsCredentialsProvider",
            "passwordPolicyEnabled",
            "workerId",
            "javax.net.ssl.keyStore",
            "token.count",
        ] {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    #[track_caller]
    fn check_text(text: &str, expected: &str) {
        assert_eq!(Masked::of_text(text).to_string(), expected);
    }

    #[test]
    fn secrets_in_text_are_masked() {
        check_text("app --token X --fast", "app --token *** --fast");
        check_text("app --token=X=Y;Z -password X", "app --token=*** -password ***");
        check_text("env DBPASS=X USER=u app", "env DBPASS=*** USER=u app");
        check_text("curl -H 'Authorization: Bearer X'\nnext", "curl -H 'Authorization: ***\nnext");
        check_text("with Bearer X", "with Bearer ***");
        check_text(
            r#"{"user":"u","password":"X","a":1}"#,
            r#"{"user":"u","password":"***","a":1}"#,
        );
        check_text(r#"password = "X Y" z"#, r#"password = "***" z"#);
        check_text(
            "-Djavax.net.ssl.trustStorePassword=X -Da=b",
            "-Djavax.net.ssl.trustStorePassword=*** -Da=b",
        );
        check_text("https://h/p?a=1&token=X&b=2", "https://h/p?a=1&token=***&b=2");
        check_text("jdbc:x://h;user=u;password=X;a=b", "jdbc:x://h;user=u;password=***;a=b");
        check_text(
            "get https://u:X@h:1/p, and http://X@h",
            "get https://***@h:1/p, and http://***@h",
        );
        check_text("https://u:X/Y@h/p", "https://***@h/p");
        check_text("u:X@h:1", "***@h:1");
        check_text("//u:X@h", "//***@h");
        check_text("key AKIAIOSFODNN7EXAMPLE.", "key ***.");
        check_text("secret: X Y", "secret: *** Y");
        for open in [
            "",
            "http://127.0.0.1:4566/a@b",
            "git@github.com:a/b",
            "image:1.2@sha256:0123",
            "mail bob@example.org, mailto:bob@example.org",
            "arn:aws:secretsmanager:us-east-1:123456789012:secret:name",
            "arn:aws:kinesis:us-east-1:123456789012:stream/s",
            "unexpected token: `}`",
            "--tokenizer fast --max-tokens 7 --password-file f",
            "AKIAIOSFODNN7EXAMPLEANDMORE",
            "a = b",
        ] {
            check_text(open, open);
        }
    }

    #[test]
    fn words_of_a_command_are_masked() {
        let shown = |words: &[&str]| {
            Masked::of_words(words).iter().map(Masked::to_string).collect::<Vec<_>>().join("|")
        };
        assert_eq!(shown(&["a", "--token", "X Y", "b"]), "a|--token|***|b");
        assert_eq!(
            shown(&["-Dpassword=X Y", "PW=c", "--password="]),
            "-Dpassword=***|PW=c|--password="
        );
        assert_eq!(shown(&["https://u:X@h", "--token"]), "https://***@h|--token");
    }

    #[test]
    fn part_keeps_its_masks() {
        let masked = Masked::of_text("ab --token X cd").and([(0..2, "$AB".to_owned())]);
        assert_eq!(masked.to_string(), "$AB --token *** cd");
        assert_eq!(format!("{masked:?}"), "\"$AB --token *** cd\"");
        assert_eq!(serde_json::to_string(&masked).unwrap(), "\"$AB --token *** cd\"");
        assert_eq!(masked.part(1..4).to_string(), "$AB -");
        assert_eq!(masked.part(11..15).to_string(), "*** cd");
        assert_eq!(masked.part(12..15).to_string(), " cd");
        assert_eq!(masked.after("x=").to_string(), "x=$AB --token *** cd");
        assert_eq!(masked.and([(10..14, "$B".to_owned())]).to_string(), "$AB --token***d");
    }

    /// Quadratic work would make this test hang.
    #[test]
    fn long_texts_take_linear_time() {
        for piece in [
            "=", ":", "a=", "token=", "'token'=", "--token ", "//", "//a:b", "a:b@", "//@", "\"",
            " ", "AKIA", "a|", ",a|b",
        ] {
            let text = piece.repeat(200_000);
            let shown = Masked::of_property("AwsCredentialsProvider", &text).to_string();
            assert!(shown.len() <= 3 * text.len(), "{piece}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_masked_without_panic(
            key in "[a-zA-Z.]{0,3}(token|password|CredentialsProvider)?",
            pieces in prop::collection::vec(
                prop_oneof![
                    prop::sample::select(vec![
                        "token", "password", "=", ":", "//", "@", "|", ",", " ", "\"", "'", "--", "AKIAIOSFODNN7EXAMPLE",
                        "Bearer", "\u{e9}", "\n", "&", "arn:",
                    ]).prop_map(str::to_owned),
                    "\\PC{0,4}",
                ],
                0..12,
            ),
            cut: (prop::sample::Index, prop::sample::Index),
        ) {
            let text = pieces.concat();
            for masked in [Masked::of_text(text.as_str()), Masked::of_property(&key, &text)] {
                let mut end = 0;
                for mask in masked.masks() {
                    prop_assert!(end <= mask.start && mask.start < mask.end);
                    prop_assert!(text.get(mask.clone()).is_some());
                    end = mask.end;
                }
                prop_assert_eq!(masked.reveal(), text.as_str());
                let starts: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
                let (one, other) = (*cut.0.get(&starts), *cut.1.get(&starts));
                let part = masked.part(one.min(other)..one.max(other)).to_string();
                // It must not show more than the whole text.
                let shown = masked.to_string();
                prop_assert!(part.split(MASK).all(|piece| shown.contains(piece)), "{} in {}", part, shown);
            }
        }

        /// The secret has only characters that the rest does not have.
        #[test]
        fn secret_is_masked_wherever_it_occurs(
            secret in "[\u{3b1}-\u{3c9}]{4,12}",
            before in "([a-f]{1,4} ){0,2}",
            template in prop::sample::select(vec![
                "--token $", "--api-key=$", "password=$", "password = $", "\"secret\": \"$\"", "https://u:$@h/p",
                "https://$@h", "u:$@h", "Authorization: Basic $", "http://h/?apiKey=$&a=b", "Bearer $",
                "DB_PASS=$ a", "x.token=$",
            ]),
        ) {
            let text = format!("{before}{}", template.replace('$', &secret));
            let shown = Masked::of_text(text.as_str()).to_string();
            prop_assert!(!shown.contains(|char: char| secret.contains(char)), "{}", shown);
        }
    }
}
