//! The model's own chat template around a prompt.

use std::path::Path;

use minijinja::{Environment, ErrorKind, UndefinedBehavior, context};
use serde_json::Value;

use super::environment;
use crate::error::{Error, Result};
use crate::fs;

/// A chat template as it stands beside a tokenizer.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos: String,
    eos: String,
}

impl ChatTemplate {
    /// Reads the chat template of a model folder: `chat_template.jinja`, or the one in
    /// `tokenizer_config.json`; `None` where the model has none.
    pub fn load(folder: &Path) -> Result<Option<Self>> {
        let settings = folder.join("tokenizer_config.json");
        let settings: Value = if settings.is_file() {
            fs::read_json(&settings)?
        } else {
            Value::Null
        };
        let path = folder.join("chat_template.jinja");
        let source = if path.is_file() {
            fs::read_text(&path)?
        } else if let Some(source) = embedded(&settings["chat_template"]) {
            source.to_owned()
        } else {
            return Ok(None);
        };
        let token = |name: &str| match &settings[name] {
            Value::String(token) => token.clone(),
            other => other["content"].as_str().unwrap_or_default().to_owned(),
        };
        Self::new(&source, &token("bos_token"), &token("eos_token"))
            .map(Some)
            .map_err(|e| Error::file(folder, e.to_string()))
    }

    /// Compiles a template; the tokens are those that it may name.
    pub fn new(source: &str, bos: &str, eos: &str) -> Result<Self> {
        let wrong = |e: minijinja::Error| Error::option("chat template", format!("{e:#}"));
        let mut environment = environment().map_err(wrong)?;
        environment.set_undefined_behavior(UndefinedBehavior::Lenient);
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |what: String| {
            Err::<String, _>(minijinja::Error::new(ErrorKind::InvalidOperation, what))
        });
        environment
            .add_template_owned("chat", without_training_marks(source))
            .map_err(wrong)?;
        Ok(Self {
            environment,
            bos: bos.to_owned(),
            eos: eos.to_owned(),
        })
    }

    /// The conversation in which the user says `prompt`, up to where the answer begins. The
    /// token that begins every text is left to the tokenizer, which puts it by itself.
    pub fn fill(&self, prompt: &str) -> Result<String> {
        let wrong = |e: minijinja::Error| Error::option("chat template", format!("{e:#}"));
        let messages = [context! { role => "user", content => prompt }];
        let text = self
            .environment
            .get_template("chat")
            .and_then(|template| {
                template.render(context! {
                    messages,
                    add_generation_prompt => true,
                    // There are none, and templates ask `tools is not none` as well as `tools`.
                    tools => (),
                    documents => (),
                    bos_token => &self.bos,
                    eos_token => &self.eos,
                })
            })
            .map_err(wrong)?;
        let is_led = !self.bos.is_empty() && text.starts_with(&self.bos);
        Ok(text[if is_led { self.bos.len() } else { 0 }..].to_owned())
    }
}

/// `{% generation %}` marks what training looks at and means nothing to a prompt; the engine does
/// not know it.
fn without_training_marks(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let Some(length) = rest[start..].find("%}") else {
            break;
        };
        let (before, tag, after) = (
            &rest[..start],
            &rest[start..start + length],
            &rest[start + length..],
        );
        out.push_str(before);
        match tag[2..].trim_matches(|c: char| c.is_whitespace() || c == '-') {
            "generation" => out.push_str(&tag.replace("generation", "if true")),
            "endgeneration" => out.push_str(&tag.replace("endgeneration", "endif")),
            _ => out.push_str(tag),
        }
        rest = after;
    }
    out + rest
}

/// One template, or the one called "default" of several.
fn embedded(value: &Value) -> Option<&str> {
    match value {
        Value::String(source) => Some(source),
        Value::Array(named) => {
            let default = named.iter().find(|t| t["name"] == "default");
            default.or(named.first())?["template"].as_str()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by us in the manner of the usual ones.
    const CHATML: &str = "{{ bos_token }}{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\nBe helpful.<|im_end|>\\n' }}{% endif %}\n\
        {%- for message in messages -%}\n    {%- if message['content'] is not string -%}{{ raise_exception('no text') }}{%- endif -%}\n\
        {{ '<|im_start|>' + message['role'] + '\\n' + message['content'].strip() + '<|im_end|>\\n' }}\n{%- endfor -%}\n\
        {%- if add_generation_prompt and not tools -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}";

    #[test]
    fn a_prompt_stands_in_the_models_own_frame() {
        let chat = ChatTemplate::new(CHATML, "<s>", "</s>").unwrap();
        assert_eq!(
            chat.fill(" Claim: ice melts ").unwrap(),
            "<|im_start|>system\nBe helpful.<|im_end|>\n<|im_start|>user\nClaim: ice melts\
             <|im_end|>\n<|im_start|>assistant\n"
        );
    }

    /// `fixtures/chat/make.py`: templates in the manner of the common families, by transformers.
    #[test]
    fn templates_of_the_common_families_give_what_transformers_gives() {
        #[derive(serde::Deserialize)]
        struct Case {
            name: String,
            prompt: String,
            text: String,
        }
        let golden: Value =
            serde_json::from_str(include_str!("../../../../fixtures/chat/golden.json")).unwrap();
        let cases: Vec<Case> = serde_json::from_value(golden["cases"].clone()).unwrap();
        assert_eq!(cases.len(), 12);
        for case in cases {
            let source = golden["templates"][&case.name].as_str().unwrap();
            let chat = ChatTemplate::new(source, "<s>", "</s>").unwrap();
            // The tokenizer puts the token that begins every text.
            let expected = case.text.strip_prefix("<s>").unwrap_or(&case.text);
            assert_eq!(chat.fill(&case.prompt).unwrap(), expected, "{}", case.name);
        }
    }

    #[test]
    fn a_template_that_refuses_says_why() {
        let source =
            "{% if messages[0].role == 'user' %}{{ raise_exception('no users') }}{% endif %}";
        let chat = ChatTemplate::new(source, "", "").unwrap();
        let error = chat.fill("x").unwrap_err().to_string();
        assert!(
            error.starts_with("chat template: ") && error.contains("no users"),
            "{error}"
        );
    }

    #[test]
    fn a_folder_gives_its_template_or_none() {
        let folder = tempfile::tempdir().unwrap();
        let settings = folder.path().join("tokenizer_config.json");
        assert!(ChatTemplate::load(folder.path()).unwrap().is_none());
        fs::write(&settings, r#"{"bos_token": "<s>"}"#).unwrap();
        assert!(ChatTemplate::load(folder.path()).unwrap().is_none());
        let load = |text: &str| {
            fs::write(&settings, text).unwrap();
            let chat = ChatTemplate::load(folder.path()).unwrap().unwrap();
            chat.fill("x").unwrap()
        };
        let source = "{{ bos_token }}{{ messages[-1].content }}{{ eos_token }}";
        let both = format!(
            r#"{{"chat_template": "{source}", "bos_token": {{"content": "<s>"}}, "eos_token": "</s>"}}"#
        );
        assert_eq!(load(&both), "x</s>");
        let several = format!(
            r#"{{"chat_template": [{{"name": "tool_use", "template": "no"}}, {{"name": "default", "template": "{source}"}}]}}"#
        );
        assert_eq!(load(&several), "x");
        fs::write(
            &folder.path().join("chat_template.jinja"),
            "own {{ messages[0].content }}",
        )
        .unwrap();
        assert_eq!(load(&several), "own x");
        let error = ChatTemplate::new("{% if %}", "", "")
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("chat template: "), "{error}");
    }
}
