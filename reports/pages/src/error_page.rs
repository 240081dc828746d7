//! The page that says what went wrong, and where to go from there.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use crate::{Error, Language, Text, template::fill, words::Words};

/// What an error page is made of. It must hold no detail of our insides.
#[derive(Debug, Clone)]
pub struct ErrorPage<'a> {
    /// The language of the page.
    pub language: Language,
    /// The HTTP status.
    pub status: u16,
    /// The stable word for programs.
    pub code: &'a str,
    /// What exactly is wrong, in English.
    pub detail: Option<&'a str>,
    /// The path and the parameters that were asked for.
    pub address: &'a str,
    /// When to try again.
    pub retry_after_s: Option<u64>,
    /// The request's id, for the support.
    pub request_id: Option<&'a str>,
}

#[derive(Serialize)]
struct Values<'a> {
    lang: &'static str,
    words: &'static Words,
    status: u16,
    code: &'a str,
    title: &'static str,
    message: String,
    detail: Option<&'a str>,
    request_id: Option<&'a str>,
    links: Vec<ErrorLink>,
}

/// A way on.
#[derive(Serialize)]
struct ErrorLink {
    text: &'static str,
    href: String,
}

/// What a kind of error is called, and what it means for the reader.
struct Meaning {
    title: [&'static str; 2],
    message: [&'static str; 2],
    ways: &'static [Goal],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goal {
    SignIn,
    /// The same address once more.
    Again,
    /// The same page without what its address says.
    Plain,
    Dashboard,
}

fn meaning(status: u16, code: &str) -> Meaning {
    use Goal::{Again, Dashboard, Plain, SignIn};
    let of = |title, message, ways| Meaning { title, message, ways };
    match (status, code) {
        (_, "session_over") => of(
            ["Your session is over", "会话已过期"],
            ["Sign in again to go on where you were.", "请重新登录后继续。"],
            &[SignIn],
        ),
        (401, _) => of(
            ["Please sign in", "请先登录"],
            ["This page is only for people who are signed in.", "登录后才能查看此页面。"],
            &[SignIn],
        ),
        (403, _) => of(
            ["You may not see this", "没有访问权限"],
            [
                "Your account has no right to this page. Ask an administrator for it, or sign in with another account.",
                "您的账号没有访问此页面的权限。请联系管理员，或使用其他账号登录。",
            ],
            &[Dashboard, SignIn],
        ),
        (404, _) => of(
            ["There is nothing here", "页面不存在"],
            [
                "Nothing is at this address, or you may not see it. Check how it is written.",
                "此地址没有内容，或您无权查看。请检查地址是否正确。",
            ],
            &[Dashboard],
        ),
        (405, _) => of(
            ["This address is for programs", "此地址供程序使用"],
            ["A browser cannot open it by itself.", "浏览器无法直接打开此地址。"],
            &[Dashboard],
        ),
        (400, _) => of(
            ["The address is not usable", "地址无法识别"],
            [
                "Something in the address has a value that is not possible.",
                "地址中的某个参数值无效。",
            ],
            &[Plain, Dashboard],
        ),
        (429, _) => of(
            ["Too much at once", "请求过于频繁"],
            ["Too many requests came at the same time.", "同时到达的请求过多。"],
            &[Again, Dashboard],
        ),
        (503 | 504, _) => of(
            ["Not available at the moment", "暂时不可用"],
            [
                "The server is busy, or has just been started. Nothing is lost.",
                "服务器正忙或刚刚启动。数据不会丢失。",
            ],
            &[Again, Dashboard],
        ),
        (500.., _) => of(
            ["Something went wrong on our side", "服务器内部错误"],
            [
                "It was noted. If it happens again, tell the number of the request to your administrator.",
                "错误已被记录。如再次出现，请将请求编号告知管理员。",
            ],
            &[Again, Dashboard],
        ),
        _ => of(
            ["This was not possible", "无法完成请求"],
            ["The request was understood, and refused.", "请求已被理解，但被拒绝。"],
            &[Plain, Dashboard],
        ),
    }
}

impl Goal {
    fn way(self, language: Language, address: &str) -> ErrorLink {
        let path = address.split('?').next().unwrap_or("/");
        let (texts, href) = match self {
            Self::SignIn => (["Sign in", "登录"], {
                let next = utf8_percent_encode(address, NON_ALPHANUMERIC);
                format!("/sign-in?next={next}&lang={}", language.tag())
            }),
            Self::Again => (["Try again", "重试"], address.to_owned()),
            Self::Plain => (["Open the page without it", "打开默认页面"], path.to_owned()),
            Self::Dashboard => (["Go to the dashboard", "前往仪表盘"], "/".to_owned()),
        };
        ErrorLink { text: of(texts, language), href }
    }
}

fn of(texts: [&'static str; 2], language: Language) -> &'static str {
    match language {
        Language::En => texts[0],
        Language::ZhCn => texts[1],
    }
}

/// Renders the page. Fails only when the template cannot be filled.
pub fn error_page(page: &ErrorPage<'_>) -> Result<String, Error> {
    let language = page.language;
    let meaning = meaning(page.status, page.code);
    let mut message = of(meaning.message, language).to_owned();
    if let Some(seconds) = page.retry_after_s {
        let again = Text {
            en: format!(" Try again in {seconds} seconds."),
            zh_cn: format!("请在 {seconds} 秒后重试。"),
        };
        message.push_str(again.of(language));
    }
    // Only an address of our own is led back to.
    let own = page.address.starts_with('/') && !page.address.starts_with("//");
    let address = if own { page.address } else { "/" };
    fill(
        &[],
        "error.html",
        &Values {
            lang: language.tag(),
            words: Words::of(language),
            status: page.status,
            code: page.code,
            title: of(meaning.title, language),
            message,
            detail: page.detail,
            request_id: page.request_id,
            links: meaning.ways.iter().map(|goal| goal.way(language, address)).collect(),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(language: Language, status: u16, code: &str, address: &str) -> String {
        error_page(&ErrorPage {
            language,
            status,
            code,
            detail: Some("there is no dashboard `<i>x</i>`"),
            address,
            retry_after_s: (status == 503).then_some(7),
            request_id: Some("req_1"),
        })
        .unwrap()
        .replace("&#x2f;", "/")
    }

    #[test]
    fn it_says_what_happened_and_escapes_it() {
        let html = page(Language::En, 404, "not_found", "/dashboards/x");
        assert!(html.contains("404") && html.contains("req_1") && html.contains("href=\"/\""));
        assert!(html.contains("&lt;i&gt;x") && !html.contains("<script") && !html.contains("<i>"));
    }

    #[test]
    fn every_status_has_words_and_a_way_on_in_each_language() {
        for status in [400, 401, 403, 404, 405, 408, 409, 413, 422, 429, 500, 503, 504] {
            for language in Language::ALL {
                let html = page(language, status, "x", "/sql?q=1");
                let heading = html.split("<h1>").nth(1).unwrap().split("</h1>").next().unwrap();
                assert_eq!(heading.is_ascii(), language == Language::En, "{status} {heading}");
                assert!(html.contains("class=\"button\""), "{status}");
            }
        }
        let html = page(Language::ZhCn, 401, "session_over", "/sql?q=select 1&lang=en");
        assert!(
            html.contains("/sign-in?next=%2Fsql%3Fq%3Dselect%201%26lang%3Den&amp;lang=zh-CN"),
            "{html}"
        );
        assert!(page(Language::En, 503, "unavailable", "/").contains("in 7 seconds"));
        assert!(!page(Language::En, 503, "unavailable", "//evil.example/").contains("evil"));
    }
}
