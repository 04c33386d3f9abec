"""What networks see in the same held-out images, as one page: teacher, student alone and student taught, side by side.

wanted   who is looked at, and the images that all of them see
seen     what each network makes of the images: features, logits, where it looks
kept     what was seen, as a file
plane    features as points in the plane, turned alike
follow   where a student follows its teacher, and where it does not
drawn    all of it as sections of a page
page     the page
several  a section of the page of several runs
"""
