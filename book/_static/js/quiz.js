// Three quick questions: each answer becomes a button of a group, what is said of it is shown when
// it is chosen. Nothing is counted, kept or sent. Without this file a page shows the same answers,
// and the right one behind a fold.
(function () {
  "use strict";

  function answer(item, question, name) {
    const text = item.querySelector("p:not(.quiz-said)");
    const input = document.createElement("input");
    Object.assign(input, { type: "radio", name });
    const label = document.createElement("label");
    const words = document.createElement("span");  // one box, whatever marks the text holds
    words.append(...text.childNodes);
    label.append(input, words);
    text.replaceWith(label);
    input.addEventListener("change", () => {
      const right = item.classList.contains("quiz-right");
      question.querySelectorAll("li").forEach((li) => li.classList.toggle("quiz-chosen", li === item));
      const said = item.querySelector(".quiz-said").cloneNode(true);
      const verdict = document.createElement("strong");
      verdict.textContent = right ? "Right. " : "Not so. ";
      const status = question.querySelector("[role=status]");
      status.className = right ? "quiz-status quiz-yes" : "quiz-status quiz-no";
      status.replaceChildren(verdict, ...said.childNodes);
    });
  }

  function asked(quiz, section) {
    quiz.querySelectorAll(".quiz-question").forEach((question, number) => {
      const name = `quiz-${section}-${number}`;
      const ask = question.querySelector(".quiz-ask");
      ask.id = name;
      const list = question.querySelector(".quiz-answers");
      list.setAttribute("role", "radiogroup");
      list.setAttribute("aria-labelledby", name);
      list.querySelectorAll("li").forEach((item) => {
        item.setAttribute("role", "presentation");
        answer(item, question, name);
      });
      const status = document.createElement("p");
      status.setAttribute("role", "status");
      question.querySelector(".quiz-fold").replaceWith(status);
    });
    quiz.classList.add("quiz-live");
  }

  document.addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll(".quiz").forEach(asked);
  });
})();
