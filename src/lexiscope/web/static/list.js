// Forms that lead to a list: fields that were left empty stay out of the address.

for (const form of document.querySelectorAll("form[data-short]")) {
  form.addEventListener("submit", () => {
    const empty = [...form.elements].filter((field) => field.name && field.value === "");
    for (const field of empty) field.disabled = true;
    setTimeout(() => empty.forEach((field) => (field.disabled = false)));
  });
}
