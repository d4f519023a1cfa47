//! `weir explain`: which way a call goes, and why; asked of the running gateway.

use clap::Args;
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{AdminArgs, Failure, Format, Verdict, admin_client};

const EXAMPLES: &str = "\
Examples:
  weir explain shop/web http://cart/items                 a pod's call to a Service
  weir explain shop/web http://cart/items -X POST -H 'x-user: beta'
  weir explain gateway http://shop.example.com:8080/      a request from outside to a Gateway's port
  weir explain --id 4f1c2a9e                              what became of a request of the last minutes";

/// Explain which way a call would go, or what became of one
///
/// Says what the kernel does with the connect, which route and rule match and why the others do not, which
/// endpoints can be chosen and why the others cannot, and what the answer would be. Nothing is sent.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ExplainArgs {
    /// Who calls: a captured pod as NAMESPACE/NAME, or `gateway` for a client from outside
    #[arg(required_unless_present = "id", requires = "url")]
    from: Option<String>,
    /// What is called, as the client writes it
    url: Option<String>,
    /// Request method
    #[arg(short = 'X', long, default_value = "GET")]
    method: Method,
    /// Request header as `Name: value`; can be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<String>,
    /// Explain the request with this x-request-id (it stands in the access log) instead
    #[arg(long, value_name = "REQUEST_ID", conflicts_with_all = ["from", "url", "method", "headers"])]
    id: Option<String>,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    admin: AdminArgs,
}

fn header(text: &str) -> Result<String, String> {
    match text.split_once(':') {
        Some((name, _)) if http::HeaderName::try_from(name.trim()).is_ok() => Ok(text.to_owned()),
        _ => Err("a header is written as `Name: value`".to_owned()),
    }
}

/// Asks and writes the answer.
pub fn run(args: &ExplainArgs) -> Result<Verdict, Failure> {
    let answer = admin_client::ask(&args.admin.socket(), Method::GET, &query(args))?;
    answer.print()
}

fn query(args: &ExplainArgs) -> String {
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    match &args.id {
        Some(id) => pairs.push(("id", id)),
        None => {
            pairs.push(("from", args.from.as_deref().unwrap_or_default()));
            pairs.push(("url", args.url.as_deref().unwrap_or_default()));
            pairs.push(("method", args.method.as_str()));
            pairs.extend(args.headers.iter().map(|h| ("header", h.as_str())));
        }
    }
    if args.output == Format::Text {
        pairs.push(("output", "text"));
    }
    let pairs: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)))
        .collect();
    format!("/explain?{}", pairs.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: ExplainArgs,
    }

    fn parse(words: &[&str]) -> Result<ExplainArgs, clap::Error> {
        Line::try_parse_from(std::iter::once("weir").chain(words.iter().copied())).map(|l| l.args)
    }

    #[test]
    fn a_call_becomes_a_query_that_keeps_every_character() {
        let args = parse(&["shop/web", "http://cart/a?b=c&d", "-X", "POST", "-H", "x-user: be&ta"]).unwrap();
        assert_eq!(
            query(&args),
            "/explain?from=shop%2Fweb&url=http%3A%2F%2Fcart%2Fa%3Fb%3Dc%26d&method=POST&header=x%2Duser%3A%20be%26ta&output=text"
        );
    }

    #[test]
    fn a_request_is_named_by_its_id_alone() {
        assert_eq!(query(&parse(&["--id", "4f1c", "-o", "json"]).unwrap()), "/explain?id=4f1c");
        assert!(parse(&["--id", "4f1c", "shop/web", "http://cart/"]).is_err());
        assert!(parse(&["shop/web"]).is_err());
        assert!(parse(&[]).is_err());
    }
}
